#include "repo/unnamed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cassert>
#include <cstdio>
#include <utility>

#include "crypto/random.h"
#include "repo/raw_bytes.h"

namespace cairn::repo {
namespace {

// Dirty bytes after which the kernel is asked to begin writing, so that little
// is left to wait for in the final sync.
constexpr std::uint64_t kWriteBackBytes = 8 << 20;

std::string random_name() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (const auto byte : crypto::random_array<16>()) {
    name += kDigits[std::to_integer<unsigned>(byte) >> 4];
    name += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return name;
}

}  // namespace

UnnamedFile::UnnamedFile(UniqueFd folder, std::string object)
    : object_(std::move(object)), folder_(std::move(folder)) {
  // In the moment before it is locked, whoever tidies up takes it for what a
  // crash left. A prune does that once, so few tries are plenty.
  constexpr int kTries = 20;
  for (int tries = 0; tries < kTries; ++tries) {
    if (create_locked()) return;
  }
  throw Vanished(object_ + ": cannot create: its unfinished file is gone");
}

void UnnamedFile::append(std::span<const std::byte> bytes) {
  assert(file_.is_open());
  try {
    write_fully(file_.get(), bytes, object_);
  } catch (const IoError&) {
    abandon();
    throw;
  }
  written_ += bytes.size();
  if (written_ - write_back_begun_ < kWriteBackBytes) return;
  // Its answer does not matter: the sync reports whatever went wrong.
  ::sync_file_range(file_.get(), static_cast<off_t>(write_back_begun_),
                    static_cast<off_t>(written_ - write_back_begun_),
                    SYNC_FILE_RANGE_WRITE);
  write_back_begun_ = written_;
}

void UnnamedFile::sync() {
  assert(file_.is_open());
  if (::fdatasync(file_.get()) != 0) fail_for_good("cannot sync", errno);
}

void UnnamedFile::verify(std::span<const std::byte> expected,
                         const MemorySum& sum) {
  ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
  RawBytes found(expected.size());
  read_fully(file_.get(), 0, found, object_);
  if (!(found == expected) || memory_sum(found) != sum) {
    throw CorruptionError(object_ +
                          ": reads back differently from what was written");
  }
}

Created UnnamedFile::publish(int folder, const std::string& name) {
  if (::close(file_.release()) != 0) fail_for_good("cannot close", errno);
  const Created result = link(folder, name);
  // Also when it exists: whoever made it may not have synced it yet.
  sync_folder(folder, object_);
  abandon();
  return result;
}

// False: it was removed before it was locked.
bool UnnamedFile::create_locked() {
  name_ = random_name();
  file_ = open_at(folder_.get(), name_, O_RDWR | O_CREAT | O_EXCL);
  if (!file_.is_open()) fail(object_, "cannot create", errno);
  // Where the file system has no locks, create() tries again.
  const bool others_hold_it =
      ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (others_hold_it || !has_its_name()) {
    abandon();
    return false;
  }
  // The lock goes with the last descriptor: publish() closes the first.
  lock_ = UniqueFd(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  return true;
}

bool UnnamedFile::has_its_name() const {
  struct stat found {};
  return ::fstatat(folder_.get(), name_.c_str(), &found, AT_SYMLINK_NOFOLLOW) ==
             0 ||
         errno != ENOENT;
}

// Gives it the name, or finds that the name is taken.
Created UnnamedFile::link(int folder, const std::string& name) {
  const bool linked =
      ::linkat(folder_.get(), name_.c_str(), folder, name.c_str(), 0) == 0;
  if (linked) return Created::created;
  const int error = errno;
  switch (error) {
    case EPERM:  // file systems without hard links
    case EOPNOTSUPP:
    case ENOSYS:
    case EMLINK:
      return rename(folder, name);
  }
  // NFS may do it, lose the answer and fail its own second attempt.
  if (is_also(folder, name)) return Created::created;
  if (error == EEXIST) return Created::exists;
  if (error == ENOENT) {
    abandon();
    throw Vanished(object_ + ": cannot name it: its unfinished file is gone");
  }
  fail_for_good("cannot name it", error);
}

Created UnnamedFile::rename(int folder, const std::string& name) {
  const int failed = ::renameat2(folder_.get(), name_.c_str(), folder,
                                 name.c_str(), RENAME_NOREPLACE);
  if (failed == 0) {
    name_.clear();
    return Created::created;
  }
  if (errno == EEXIST) return Created::exists;
  fail_for_good("cannot name it without replacing another", errno);
}

bool UnnamedFile::is_also(int folder, const std::string& name) const {
  struct stat ours {};
  struct stat theirs {};
  return ::fstatat(folder_.get(), name_.c_str(), &ours, AT_SYMLINK_NOFOLLOW) ==
             0 &&
         ::fstatat(folder, name.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

void UnnamedFile::fail_for_good(std::string_view doing, int error) {
  abandon();
  fail(object_, doing, error);
}

// Takes the temporary name away. That this may fail is no harm: what stays
// is what a crash leaves, and remove_unfinished() finds it.
void UnnamedFile::abandon() noexcept {
  file_ = UniqueFd();
  if (!name_.empty()) ::unlinkat(folder_.get(), name_.c_str(), 0);
  name_.clear();
  lock_ = UniqueFd();
}

}  // namespace cairn::repo
