#include "ingest/wal_fetch_ahead.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <utility>

#include "crypto/digest.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::string_view kLock = "lock";

crypto::Sha256 digest_for(const WalFileName& name) {
  crypto::Sha256 digest;
  digest.add(std::as_bytes(std::span(name.text)));
  return digest;
}

bool read_all(const UniqueFd& fd, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = ::read(fd.get(), out.data(), out.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

WalFetchAhead::WalFetchAhead(fs::path folder) : folder_(std::move(folder)) {}

bool WalFetchAhead::take(const WalFileName& name, WholeFile& target) {
  const fs::path path = folder_ / name.text;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return false;
  auto left = static_cast<std::uint64_t>(status.st_size);
  if (left <= crypto::kDigestBytes ||
      !is_segment_size(left - crypto::kDigestBytes)) {
    return false;
  }
  left -= crypto::kDigestBytes;
  auto digest = digest_for(name);
  std::vector<std::byte> piece(kPiece);
  while (left > 0) {
    const auto part = std::span(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(left, kPiece)));
    if (!read_all(fd, part)) return false;
    digest.add(part);
    target.append(part);
    left -= part.size();
  }
  crypto::Digest noted{};
  if (!read_all(fd, noted) || noted != std::move(digest).finish()) {
    std::error_code error;
    fs::remove(path, error);
    return false;
  }
  // This one may be asked for again.
  remove_unless([&name](const std::string& one) { return one >= name.text; });
  return true;
}

void WalFetchAhead::fill(WalFetch& fetch, const WalFileName& name,
                         std::uint64_t most_bytes) {
  const auto wanted = fetch.following(
      name, static_cast<std::size_t>(most_bytes / fetch.segment_bytes()));
  std::set<std::string> names;
  for (const auto& one : wanted) names.insert(one.text);
  std::error_code error;
  fs::create_directories(folder_, error);
  const fs::path lock_path = folder_ / kLock;
  const UniqueFd lock(
      ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return;
  remove_unless([&names](const std::string& one) {
    return names.contains(one) || one == kLock;
  });
  for (const auto& one : wanted) {
    if (!fs::exists(folder_ / one.text, error)) put(fetch, one);
  }
}

void WalFetchAhead::put(WalFetch& fetch, const WalFileName& name) {
  const fs::path path = folder_ / name.text;
  WholeFile file(path, WholeFile::Durability::of_the_caller);
  auto digest = digest_for(name);
  fetch.read(name, [&](std::span<const std::byte> part) {
    digest.add(part);
    file.append(part);
  });
  file.append(std::move(digest).finish());
  std::move(file).name_or_replace();
}

void WalFetchAhead::clear() {
  remove_unless([](const std::string& one) { return one == kLock; });
}

void WalFetchAhead::remove_unless(
    const std::function<bool(const std::string&)>& keep) {
  std::error_code error;
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!keep(entry.path().filename().string())) gone.push_back(entry.path());
  }
  for (const auto& path : gone) fs::remove(path, error);
}

}  // namespace cairn::ingest
