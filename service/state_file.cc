#include "service/state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

#include "crypto/digest.h"
#include "ingest/whole_file.h"
#include "repo/error.h"

namespace cairn::service {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& file, const char* what) {
  repo::throw_system_error(file.string() + ": " + what, errno);
}

void make_folder_of(const fs::path& file) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  if (error) {
    errno = error.value();
    fail(file.parent_path(), "cannot create");
  }
}

fs::path lock_of(const fs::path& file) { return file.string() + ".lock"; }

ingest::UniqueFd open_lock(const fs::path& lock) {
  make_folder_of(lock);
  ingest::UniqueFd fd(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) fail(lock, "cannot open");
  return fd;
}

void sync_folder_of(const fs::path& file) {
  const ingest::UniqueFd folder(
      ::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) {
    fail(file.parent_path(), "cannot sync");
  }
}

}  // namespace

fs::path state_file(const fs::path& state, std::string_view folder,
                    const std::string& repository, const std::string& series,
                    std::string_view ending) {
  constexpr std::size_t kDigits = 32;
  const std::string both = repository + '\0' + series;
  const auto digits =
      crypto::to_hex(crypto::sha256(std::as_bytes(std::span(both))));
  return state / folder / (digits.substr(0, kDigits) + std::string(ending));
}

std::optional<std::string> read_state_file(const fs::path& file,
                                           std::uint64_t most) {
  const ingest::UniqueFd fd(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) fail(file, "cannot read");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail(file, "cannot read");
  if (!S_ISREG(status.st_mode)) {
    errno = EINVAL;
    fail(file, "is no file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t begin = size > most ? size - most : 0;
  std::string text(static_cast<std::size_t>(size - begin), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count =
        ::pread(fd.get(), text.data() + done, text.size() - done,
                static_cast<off_t>(begin + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(file, "cannot read");
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

ingest::UniqueFd lock_state_file(const fs::path& file) {
  const auto lock = lock_of(file);
  auto fd = open_lock(lock);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) fail(lock, "cannot lock");
  }
  return fd;
}

std::optional<ingest::UniqueFd> try_to_lock_state_file(const fs::path& file) {
  const auto lock = lock_of(file);
  auto fd = open_lock(lock);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) fail(lock, "cannot lock");
  }
  return fd;
}

void replace_state_file(const fs::path& file, std::string_view text) {
  make_folder_of(file);
  ingest::WholeFile whole(file, ingest::WholeFile::Durability::synced);
  whole.append(std::as_bytes(std::span(text)));
  std::move(whole).name_or_replace();
}

void append_to_state_file(const fs::path& file, std::string_view line) {
  make_folder_of(file);
  const ingest::UniqueFd fd(
      ::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) fail(file, "cannot open");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail(file, "cannot read");
  std::string text;
  if (status.st_size > 0) {
    // What a crash cut short must not swallow what follows.
    char last = '\n';
    if (::pread(fd.get(), &last, 1, status.st_size - 1) < 0) {
      fail(file, "cannot read");
    }
    if (last != '\n') text += '\n';
  }
  text.append(line) += '\n';
  const ssize_t count = ::write(fd.get(), text.data(), text.size());
  if (count >= 0 && static_cast<std::size_t>(count) != text.size()) {
    errno = ENOSPC;
  }
  if (count != static_cast<ssize_t>(text.size()) || ::fsync(fd.get()) != 0) {
    fail(file, "cannot write");
  }
  if (status.st_size == 0) sync_folder_of(file);
}

}  // namespace cairn::service
