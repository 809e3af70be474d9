// Reading one regular file: its data without its holes, up to the size it had
// when it was opened.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "ingest/file_error.h"
#include "ingest/file_metadata.h"
#include "ingest/file_source.h"
#include "ingest/unique_fd.h"

namespace cairn::ingest {
namespace {

using namespace std::chrono_literals;

// For one file: the kernel takes a lease back after 45 s, if nobody has set
// that to something else (fs.lease-break-time).
constexpr std::chrono::milliseconds kMostPatience = 60s;

// O_NONBLOCK: a FIFO that took the file's place must not make us wait.
// O_NOATIME: reading for a backup is no use of the file; only its owner and
// root may ask for that.
UniqueFd open_at_once(int folder, const char* name) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const int fd =
      uninterrupted([&] { return openat(folder, name, kFlags | O_NOATIME); });
  if (fd >= 0 || errno != EPERM) return UniqueFd(fd);
  return UniqueFd(uninterrupted([&] { return openat(folder, name, kFlags); }));
}

// EAGAIN: somebody holds a lease on the file, as Samba does for its clients,
// and was told by that call to give it back. An open that blocks would wait for
// that, but for ever where a FIFO took the file's place.
UniqueFd open_quietly(int folder, const char* name,
                      std::chrono::milliseconds& patience) {
  UniqueFd fd = open_at_once(folder, name);
  auto left = std::min(patience, kMostPatience);
  for (auto pause = 1ms; !fd && errno == EAGAIN && left > 0ms;
       pause = std::min(2 * pause, 100ms)) {
    std::this_thread::sleep_for(pause);
    left -= pause;
    patience -= pause;
    fd = open_at_once(folder, name);
  }
  return fd;
}

// 0 only at the end of the file.
std::size_t read_some(int fd, std::uint64_t offset, std::span<std::byte> out,
                      const std::string& path) {
  const ssize_t size = uninterrupted([&] {
    return pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  });
  if (size < 0) throw_io_error(path, "read", errno);
  return static_cast<std::size_t>(size);
}

}  // namespace

struct OpenFile::State {
  UniqueFd fd;
  std::string path;  // for messages
  std::uint64_t size = 0;
  std::vector<repo::Extent> holes;

  std::uint64_t position = 0;
  std::size_t next_hole = 0;
};

OpenFile::OpenFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
OpenFile::OpenFile(OpenFile&&) noexcept = default;
OpenFile& OpenFile::operator=(OpenFile&&) noexcept = default;
OpenFile::~OpenFile() = default;

OpenFile OpenFile::open(int folder, const char* name, const FileState& seen,
                        std::string_view path,
                        std::chrono::milliseconds& patience) {
  UniqueFd fd = open_quietly(folder, name, patience);
  if (!fd && errno == ENOENT) {
    throw FileVanished(std::string(path) + ": open: " + words_of(errno));
  }
  if (!fd && errno == ELOOP) {
    throw FileReplaced(std::string(path) +
                       ": replaced by a symlink before it was read");
  }
  if (!fd && errno == EAGAIN) {
    throw repo::IoError(std::string(path) +
                        ": open: another program holds a lease on it and does "
                        "not give it back");
  }
  if (!fd) throw_io_error(path, "open", errno);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) throw_io_error(path, "stat", errno);
  if (!S_ISREG(status.st_mode) || status.st_dev != seen.device ||
      status.st_ino != seen.inode) {
    throw FileReplaced(std::string(path) +
                       ": replaced by another file before it was read");
  }

  auto state = std::make_unique<State>();
  state->holes = holes_of(fd.get(), status);
  state->fd = std::move(fd);
  state->path = path;
  state->size = static_cast<std::uint64_t>(status.st_size);
  return OpenFile(std::move(state));
}

std::size_t OpenFile::read(std::span<std::byte> out) {
  State& file = *state_;
  std::size_t filled = 0;
  while (filled < out.size() && file.position < file.size) {
    std::uint64_t data_ends = file.size;
    if (file.next_hole < file.holes.size()) {
      const repo::Extent& hole = file.holes[file.next_hole];
      if (file.position == hole.offset) {
        file.position += hole.size;
        ++file.next_hole;
        continue;
      }
      data_ends = hole.offset;
    }
    const std::uint64_t wanted =
        std::min<std::uint64_t>(out.size() - filled, data_ends - file.position);
    const std::size_t got = read_some(
        file.fd.get(), file.position,
        out.subspan(filled, static_cast<std::size_t>(wanted)), file.path);
    if (got == 0) file.size = file.position;  // it shrank
    filled += got;
    file.position += got;
  }
  return filled;
}

const std::vector<repo::Extent>& OpenFile::holes() const noexcept {
  return state_->holes;
}

FileState OpenFile::state_now() const {
  struct stat status;
  if (fstat(state_->fd.get(), &status) != 0) {
    throw_io_error(state_->path, "stat", errno);
  }
  return state_of(status);
}

std::size_t OpenFile::peek(std::uint64_t offset,
                           std::span<std::byte> out) const {
  if (offset >= state_->size) return 0;
  const auto size = static_cast<std::size_t>(
      std::min<std::uint64_t>(out.size(), state_->size - offset));
  std::size_t filled = 0;
  while (filled < size) {
    const std::size_t got =
        read_some(state_->fd.get(), offset + filled,
                  out.subspan(filled, size - filled), state_->path);
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

}  // namespace cairn::ingest
