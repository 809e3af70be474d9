#include "ingest/wal_digests.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "ingest/unique_fd.h"
#include "ingest/wal_spool.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFile = "digests";
constexpr std::size_t kMaxNameBytes = 64;
constexpr std::size_t kPiece = std::size_t{1} << 20;

std::string line_of(const std::string& name, const crypto::Digest& digest) {
  return name + ' ' + crypto::to_hex(digest) + '\n';
}

}  // namespace

WalDigests::WalDigests(const fs::path& spool) : path_(spool / kFile) {
  std::ifstream in(path_, std::ios::binary);
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty()) continue;
    ++lines_;
    const auto space = line.find(' ');
    crypto::Digest digest{};
    // A torn line is none.
    if (space == std::string::npos || space > kMaxNameBytes ||
        !crypto::from_hex(std::string_view(line).substr(space + 1), digest)) {
      continue;
    }
    digests_.insert_or_assign(line.substr(0, space), digest);
  }
}

std::optional<crypto::Digest> WalDigests::find(const std::string& name) const {
  const auto found = digests_.find(name);
  if (found == digests_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> WalDigests::last_with(
    std::string_view beginning) const {
  std::string behind(beginning);
  behind += '~';  // after all that names are made of
  auto found = digests_.lower_bound(behind);
  if (found == digests_.begin()) return std::nullopt;
  --found;
  if (!found->first.starts_with(beginning)) return std::nullopt;
  return found->first;
}

void WalDigests::add(const std::string& name, const crypto::Digest& digest) {
  digests_.insert_or_assign(name, digest);
  if (lines_ >= 2 * kMost) {
    std::string all;
    auto first = digests_.begin();
    if (digests_.size() > kMost) {
      std::advance(first, static_cast<std::ptrdiff_t>(digests_.size() - kMost));
      digests_.erase(digests_.begin(), first);
    }
    for (const auto& [one, its] : digests_) all += line_of(one, its);
    replace_spool_file(path_, all);
    lines_ = digests_.size();
    return;
  }
  const UniqueFd file(
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  // Behind a torn line, a line of its own.
  const std::string line = '\n' + line_of(name, digest);
  if (!file ||
      ::write(file.get(), line.data(), line.size()) !=
          static_cast<ssize_t>(line.size()) ||
      ::fdatasync(file.get()) != 0) {
    repo::throw_system_error(path_.string() + ": cannot write", errno);
  }
  ++lines_;
}

crypto::Digest digest_of_file(const fs::path& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    repo::throw_system_error(path.string() + ": cannot open", errno);
  }
  crypto::Sha256 digest;
  std::vector<std::byte> piece(kPiece);
  for (;;) {
    const ssize_t count = ::read(file.get(), piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      repo::throw_system_error(path.string() + ": cannot read", errno);
    }
    if (count == 0) break;
    digest.add(std::span(piece).first(static_cast<std::size_t>(count)));
  }
  return std::move(digest).finish();
}

}  // namespace cairn::ingest
