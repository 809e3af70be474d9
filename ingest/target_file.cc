#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
  if (placed.place == Place::empty || placed.place == Place::taken) {
    const std::string& name =
        placed.place == Place::taken ? placed.temporary_name : entry.name;
    unlinkat(folder_fd->get(), name.c_str(), 0);
  }
  if (linked) shared->linked.abandon(linked->id);
  folder->file_ends(folder_fd->get(), shared->shortfalls);
}

void TargetFile::State::begin(PlacedFile file) {
  placed = std::move(file);
  folder->file_begins();
  has_begun_ = true;
}

void TargetFile::State::finish() {
  struct stat now = status();
  const auto old_size = static_cast<std::uint64_t>(now.st_size);
  if (placed.place != Place::kept) {
    bool has_changed = set_size(old_size);
    if (placed.place == Place::rewritten) has_changed |= punch_holes(old_size);
    if (has_changed) now = status();
    apply_metadata(placed.fd.get(), now, entry, path, shared->shortfalls);
  }
  close_written();
  const int parent = folder_fd->get();
  if (placed.place == Place::taken &&
      renameat(parent, placed.temporary_name.c_str(), parent,
               entry.name.c_str()) != 0) {
    throw_io_error(path, "rename", errno);
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

struct stat TargetFile::State::status() const {
  struct stat now;
  if (fstat(placed.fd.get(), &now) != 0) throw_io_error(path, "stat", errno);
  return now;
}

// True if that changed the file; so punch_holes.
bool TargetFile::State::set_size(std::uint64_t old_size) {
  if (entry.size == old_size) return false;
  if (entry.size > kMostFileBytes) throw_io_error(path, "set size", EFBIG);
  if (ftruncate(placed.fd.get(), static_cast<off_t>(entry.size)) != 0) {
    throw_io_error(path, "set size", errno);
  }
  return true;
}

// Only in what was there before: a hole of a new file is where nobody wrote.
bool TargetFile::State::punch_holes(std::uint64_t old_size) {
  const int fd = placed.fd.get();
  const std::uint64_t end = std::min(old_size, entry.size);
  bool has_punched = false;
  for (const repo::Extent& hole : entry.holes) {
    if (hole.offset >= end) continue;
    const auto at = static_cast<off_t>(hole.offset);
    const std::uint64_t size = std::min(hole.size, end - hole.offset);
    const off_t data = lseek(fd, at, SEEK_DATA);
    const bool is_hole =
        data < 0 ? errno == ENXIO : data >= at + static_cast<off_t>(size);
    if (is_hole || size == 0) continue;
    has_punched = true;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
                  static_cast<off_t>(size)) == 0) {
      continue;
    }
    if (errno != EOPNOTSUPP) throw_io_error(path, "punch hole", errno);
    static constexpr std::array<std::byte, 65536> kZeros{};
    for (std::uint64_t done = 0; done < size;) {
      const auto part = std::span(kZeros).first(static_cast<std::size_t>(
          std::min<std::uint64_t>(kZeros.size(), size - done)));
      write_all(fd, hole.offset + done, part, path);
      done += part.size();
    }
  }
  return has_punched;
}

// Some file systems report a failed write only here.
void TargetFile::State::close_written() {
  if (close(placed.fd.release()) != 0 && errno != EINTR) {
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
  write_all(state_->placed.fd.get(), offset, bytes, state_->path);
}

bool TargetFile::is_rewritten() const noexcept {
  return state_->placed.place == State::Place::rewritten;
}

std::size_t TargetFile::read(std::uint64_t offset,
                             std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size() && offset + done < kMostFileBytes) {
    const ssize_t size = uninterrupted([&] {
      return pread(state_->placed.fd.get(), out.data() + done,
                   out.size() - done, static_cast<off_t>(offset + done));
    });
    if (size < 0) throw_io_error(state_->path, "read", errno);
    if (size == 0) break;
    done += static_cast<std::size_t>(size);
  }
  return done;
}

void TargetFile::finish() && {
  state_->finish();
  state_.reset();
}

const std::string& TargetFile::path() const noexcept { return state_->path; }

}  // namespace cairn::ingest
