#include "repo/storage.h"

#include "repo/error.h"

namespace cairn::repo {

std::vector<std::byte> get_whole(const Storage& storage, std::string_view name,
                                 std::uint64_t limit) {
  const auto size = storage.size(name);
  if (!size) throw NotFound(std::string(name) + ": no such object");
  if (*size > limit) {
    throw CorruptionError(std::string(name) + ": is " + std::to_string(*size) +
                          " bytes long, expected at most " +
                          std::to_string(limit));
  }
  std::vector<std::byte> bytes(*size);
  storage.get(name, 0, bytes);
  return bytes;
}

}  // namespace cairn::repo
