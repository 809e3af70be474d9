#include "repo/host_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "crypto/random.h"
#include "repo/error.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeenPrefix = "seen-";

[[noreturn]] void fail(const fs::path& path, const char* what, int error,
                       const char* advice = "") {
  const std::string text =
      path.string() + ": " + what + ": " + std::strerror(error) + advice;
  if (error == ENOSPC || error == EDQUOT) throw OutOfSpace(text);
  throw IoError(text);
}

[[noreturn]] void fail(const fs::path& path, const char* what) {
  fail(path, what, errno);
}

// What was linked or renamed there survives a power cut.
void sync_folder_of(const fs::path& path) {
  const fs::path folder = path.parent_path();
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(folder, "cannot open");
  const bool is_synced = ::fsync(fd) == 0;
  ::close(fd);
  if (!is_synced) fail(folder, "cannot sync");
}

// Whole and durable under its name, or not there: written aside, synced,
// linked. False: another process was first.
bool create_file(const fs::path& path, std::string_view text) {
  // No process id: two containers that share the folder may have the same.
  const fs::path aside =
      path.string() + "." + crypto::to_hex(crypto::random_array<8>());
  const int fd =
      ::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) fail(aside, "cannot create");
  const bool is_written = ::write(fd, text.data(), text.size()) ==
                              static_cast<ssize_t>(text.size()) &&
                          ::fsync(fd) == 0;
  const bool is_closed = ::close(fd) == 0;
  if (!is_written || !is_closed) {
    const int error = errno;
    ::unlink(aside.c_str());
    errno = error;
    fail(aside, "cannot write");
  }
  const bool is_first = ::link(aside.c_str(), path.c_str()) == 0;
  const int error = errno;
  ::unlink(aside.c_str());
  if (!is_first && error != EEXIST) {
    errno = error;
    fail(path, "cannot create");
  }
  sync_folder_of(path);
  return is_first;
}

void replace_file(const fs::path& path, std::string_view text) {
  const fs::path aside = path.string() + ".new";
  ::unlink(aside.c_str());
  (void)create_file(aside, text);
  if (::rename(aside.c_str(), path.c_str()) != 0) fail(path, "cannot replace");
  sync_folder_of(path);
}

// The first bytes of the file, all of `out`. False: it has not as many.
bool read_start(const fs::path& path, std::span<std::byte> out) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "cannot read");
  ssize_t size = 0;
  do {
    size = ::read(fd, out.data(), out.size());
  } while (size < 0 && errno == EINTR);
  const int error = errno;
  ::close(fd);
  if (size < 0) fail(path, "cannot read", error);
  return static_cast<std::size_t>(size) == out.size();
}

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

HostState::HostState(const fs::path& folder, const RepositoryId& repository)
    : folder_(folder / repository.hex()) {}

void HostState::make_folder() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    fail(folder_, "cannot create", error.value(),
         "; set XDG_STATE_HOME to a folder that can be written");
  }
  fs::permissions(folder_, fs::perms::owner_all, error);
}

crypto::Secret HostState::signing_seed() {
  const fs::path path = folder_ / "signing-key";
  constexpr std::size_t kDigits = 2 * crypto::kSecretBytes;
  if (!fs::exists(path)) {
    make_folder();
    const auto fresh = crypto::Secret::random();
    const crypto::WipedText digits(crypto::to_hex(fresh.bytes()));
    crypto::WipedText line("");
    line.text.reserve(kDigits + 1);
    line.text.append(digits.text) += '\n';
    // Whoever is second takes the first one's.
    (void)create_file(path, line.text);
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail(path, "cannot read");
  if ((status.st_mode & 077) != 0) {
    throw RefusedForSafety(path.string() +
                           ": others may read this signing key; chmod 600 it, "
                           "or remove it to start a new chain");
  }
  crypto::WipedText digits(std::string(kDigits, '\0'));
  std::vector<std::byte> bytes(crypto::kSecretBytes);
  if (!read_start(path, std::as_writable_bytes(std::span(digits.text))) ||
      !crypto::from_hex(digits.text, bytes)) {
    throw CorruptionError(
        path.string() + ": not a signing key; remove it to start a new chain");
  }
  auto seed = crypto::Secret::from_bytes(bytes);
  crypto::wipe(bytes);
  return seed;
}

namespace {

// A file beside `file`, since that one is replaced. Answers its descriptor;
// closing it lets go.
int lock_beside(const fs::path& file) {
  const fs::path lock = file.string() + ".lock";
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) fail(lock, "cannot open");
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    ::close(fd);
    fail(lock, "cannot lock");
  }
  return fd;
}

// For what may hold any bytes and be of any length.
std::string file_name_for(std::string_view prefix, std::string_view text) {
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  return std::string(prefix) + crypto::to_hex(std::span(digest).first<8>());
}

}  // namespace

HostState::ChainLock HostState::lock_chain(std::string_view series) {
  make_folder();
  const fs::path file = folder_ / file_name_for("chain-", series);
  return ChainLock(lock_beside(file), file);
}

HostState::ChainLock::ChainLock(int fd, fs::path file)
    : fd_(fd), file_(std::move(file)) {}

HostState::ChainLock::ChainLock(ChainLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), file_(std::move(other.file_)) {}

HostState::ChainLock::~ChainLock() {
  if (fd_ >= 0) ::close(fd_);
}

ChainLink HostState::ChainLock::last() const {
  ChainLink link;
  const auto text = read_file(file_);
  if (!text) return link;
  std::istringstream in(*text);
  std::string digest;
  if (!(in >> link.sequence >> digest) ||
      !crypto::from_hex(digest, link.object)) {
    return {};  // damaged: a new chain
  }
  return link;
}

void HostState::ChainLock::store(const ChainLink& link) {
  replace_file(file_, std::to_string(link.sequence) + " " +
                          crypto::to_hex(link.object) + "\n");
}

fs::path HostState::seen_file(std::string_view place) const {
  return folder_ / file_name_for(kSeenPrefix, place);
}

std::optional<LastSeen> HostState::last_seen(std::string_view place) const {
  const auto text = read_file(seen_file(place));
  return text ? parse_last_seen(*text) : std::nullopt;
}

std::vector<LastSeen> HostState::last_seen_elsewhere(
    std::string_view place) const {
  std::vector<LastSeen> all;
  std::error_code error;
  const std::string here = seen_file(place).filename().string();
  for (const auto& file : fs::directory_iterator(folder_, error)) {
    const std::string name = file.path().filename().string();
    // Without locks and files that are being written, which have longer names.
    if (!name.starts_with(kSeenPrefix) || name.size() != here.size() ||
        name == here) {
      continue;
    }
    const auto text = read_file(file.path());
    auto seen = text ? parse_last_seen(*text) : std::nullopt;
    if (seen) all.push_back(std::move(*seen));
  }
  return all;
}

void HostState::change_last_seen(std::string_view place,
                                 const std::function<void(LastSeen&)>& change) {
  make_folder();
  const fs::path file = seen_file(place);
  const ChainLock lock(lock_beside(file), file);
  const auto known = last_seen(place);
  LastSeen changed = known.value_or(LastSeen{});
  change(changed);
  if (changed != known) replace_file(file, to_text(changed));
}

}  // namespace cairn::repo
