#include "repo/object_digest.h"

#include <algorithm>
#include <vector>

namespace cairn::repo {
namespace {

constexpr std::size_t kWindowBytes = std::size_t{1} << 20;

}  // namespace

crypto::Digest digest_of_object(
    const Storage& storage, std::string_view name, std::uint64_t size,
    const std::function<void(std::span<const std::byte>)>& window) {
  crypto::Sha256 digest;
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(size, kWindowBytes)));
  for (std::uint64_t offset = 0; offset < size;) {
    const std::span bytes = std::span(buffer).first(static_cast<std::size_t>(
        std::min<std::uint64_t>(size - offset, buffer.size())));
    storage.get(name, offset, bytes);
    digest.add(bytes);
    if (window) window(bytes);
    offset += bytes.size();
  }
  return std::move(digest).finish();
}

}  // namespace cairn::repo
