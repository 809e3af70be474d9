#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "ingest/apply_metadata.h"
#include "ingest/file_error.h"
#include "ingest/target_file_state.h"
#include "ingest/target_tree.h"

namespace cairn::ingest {
namespace {

constexpr std::uint64_t kMostFileBytes = std::numeric_limits<off_t>::max();

void write_all(int fd, std::uint64_t offset, std::span<const std::byte> bytes,
               const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t size = uninterrupted([&] {
      return pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    });
    if (size < 0) throw_io_error(path, "write", errno);
    offset += static_cast<std::size_t>(size);
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
}

// Answers how many bytes there are.
std::size_t read_all(int fd, std::uint64_t offset, std::span<std::byte> out,
                     const std::string& path) {
  std::size_t done = 0;
  while (done < out.size() && offset + done < kMostFileBytes) {
    const ssize_t size = uninterrupted([&] {
      return pread(fd, out.data() + done, out.size() - done,
                   static_cast<off_t>(offset + done));
    });
    if (size < 0) throw_io_error(path, "read", errno);
    if (size == 0) break;
    done += static_cast<std::size_t>(size);
  }
  return done;
}

}  // namespace

void TargetFolder::file_begins() {
  const std::lock_guard lock(mutex_);
  ++unfinished_;
}

void TargetFolder::file_ends(int folder, Shortfalls& shortfalls) {
  {
    const std::lock_guard lock(mutex_);
    if (--unfinished_ > 0 || !is_left_) return;
  }
  apply(folder, shortfalls);
}

void TargetFolder::leave(int folder, std::string path, Shortfalls& shortfalls) {
  {
    const std::lock_guard lock(mutex_);
    path_ = std::move(path);
    is_left_ = true;
    if (unfinished_ > 0) return;
  }
  apply(folder, shortfalls);
}

void TargetFolder::apply(int folder, Shortfalls& shortfalls) {
  if (!metadata_) return;
  struct stat now;
  if (fstat(folder, &now) != 0) {
    shortfalls.add("folder metadata", errno, path_);
    return;
  }
  apply_metadata(folder, now, *metadata_, path_, shortfalls);
}

TargetFile::State::~State() {
  if (!has_begun_ || is_finished_) return;
  if (!placed_.temporary_name.empty()) {
    unlinkat(folder_fd->get(), placed_.temporary_name.c_str(), 0);
  }
  if (linked) shared->linked.abandon(linked->id);
  folder->file_ends(folder_fd->get(), shared->shortfalls);
}

void TargetFile::State::begin(PlacedFile file) {
  placed_ = std::move(file);
  folder->file_begins();
  has_begun_ = true;
  if (placed_.place != Place::compared) return;
  old_fd = std::move(placed_.fd);
  if (differs_in_shape()) (void)new_fd();
}

int TargetFile::State::new_fd() {
  const std::lock_guard lock(mutex_);
  if (!placed_.fd) {
    std::optional<UnnamedFiles> unnamed_files = UnnamedFiles::no;
    placed_ = place_beside({.folder = folder_fd->get(),
                            .entry = entry,
                            .path = path,
                            .overwrite = Overwrite::if_changed,
                            .unnamed_files = unnamed_files});
  }
  return placed_.fd.get();
}

bool TargetFile::State::has_new() const {
  const std::lock_guard lock(mutex_);
  return static_cast<bool>(placed_.fd);
}

int TargetFile::State::fd() const {
  const std::lock_guard lock(mutex_);
  return placed_.fd ? placed_.fd.get() : old_fd.get();
}

void TargetFile::State::finish() {
  if (placed_.is_new()) set_size();
  const struct stat now = status();
  if (placed_.place != Place::kept) {
    apply_metadata(fd(), now, entry, path, shared->shortfalls);
  }
  const int parent = folder_fd->get();
  if (placed_.is_new()) {
    close_written();
    const int error = give_name(parent, placed_, entry.name);
    if (error == EEXIST && placed_.place == Place::free) {
      throw repo::RefusedForSafety(path +
                                   ": made by another while it was restored");
    }
    if (error != 0) throw_io_error(path, "rename", error);
  }
  if (placed_.place == Place::kept) {
    shared->linked.keep(now.st_dev, now.st_ino);
  }
  if (linked) {
    shared->linked.finish(linked->id, {.folder = linked->folder,
                                       .name = entry.name,
                                       .device = now.st_dev,
                                       .inode = now.st_ino});
  }
  is_finished_ = true;
  folder->file_ends(parent, shared->shortfalls);
}

// Whether the file that is there has another length, or data in a hole of the
// entry: no chunk tells that.
bool TargetFile::State::differs_in_shape() const {
  const auto size = static_cast<std::uint64_t>(status().st_size);
  if (size != entry.size) return true;
  return std::ranges::any_of(entry.holes, [&](const repo::Extent& hole) {
    if (hole.size == 0 || hole.offset >= size) return false;
    const auto end = static_cast<off_t>(
        hole.offset + std::min(hole.size, size - hole.offset));
    const off_t data =
        lseek(old_fd.get(), static_cast<off_t>(hole.offset), SEEK_DATA);
    return data < 0 ? errno != ENXIO : data < end;
  });
}

struct stat TargetFile::State::status() const {
  struct stat now;
  if (fstat(fd(), &now) != 0) throw_io_error(path, "stat", errno);
  return now;
}

void TargetFile::State::set_size() {
  const auto size = static_cast<std::uint64_t>(status().st_size);
  if (entry.size == size) return;
  if (entry.size > kMostFileBytes) throw_io_error(path, "set size", EFBIG);
  if (ftruncate(placed_.fd.get(), static_cast<off_t>(entry.size)) != 0) {
    throw_io_error(path, "set size", errno);
  }
}

// Some file systems report a failed write only here. Without a name a file is
// gone with its last descriptor, so one stays open.
void TargetFile::State::close_written() {
  const int fd = placed_.temporary_name.empty()
                     ? fcntl(placed_.fd.get(), F_DUPFD_CLOEXEC, 0)
                     : placed_.fd.release();
  if (fd < 0 || (close(fd) != 0 && errno != EINTR)) {
    throw_io_error(path, "close", errno);
  }
}

TargetFile::TargetFile(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
TargetFile::TargetFile(TargetFile&&) noexcept = default;
TargetFile& TargetFile::operator=(TargetFile&&) noexcept = default;
TargetFile::~TargetFile() = default;

void TargetFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t size = std::min(state_->entry.size, kMostFileBytes);
  if (offset > size || bytes.size() > size - offset) {
    throw repo::CorruptionError(state_->path +
                                ": more content than its entry's size");
  }
  write_all(state_->new_fd(), offset, bytes, state_->path);
}

bool TargetFile::has_old() const noexcept {
  return static_cast<bool>(state_->old_fd);
}

bool TargetFile::is_replaced() const { return has_old() && state_->has_new(); }

std::size_t TargetFile::read(std::uint64_t offset,
                             std::span<std::byte> out) const {
  return read_all(state_->fd(), offset, out, state_->path);
}

std::size_t TargetFile::read_old(std::uint64_t offset,
                                 std::span<std::byte> out) const {
  return read_all(state_->old_fd.get(), offset, out, state_->path);
}

void TargetFile::finish() && {
  state_->finish();
  state_.reset();
}

const std::string& TargetFile::path() const noexcept { return state_->path; }

}  // namespace cairn::ingest
