// Sees how this program opens and reads files, and can change a file at that
// very moment, or fail the call. For one source file of a test that is linked
// with -Wl,--wrap=openat,--wrap=pread,--wrap=fstat: cairn_watches_reads().
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace cairn::testing_support {

// What happens to the file of one inode. Answers an error number to fail the
// call with, 0 to let it through.
struct WatchedFile {
  ino_t inode = 0;
  std::function<int(std::uint64_t offset)> on_read;
  std::function<int()> on_stat;
  std::function<void()> on_open;  // by its name
  std::string name;
};

inline WatchedFile& watched_file() {
  static WatchedFile file;
  return file;
}

// Watches while it lives. Requires: set up and gone while nobody reads.
class Watch {
 public:
  explicit Watch(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) std::abort();
    watched_file().inode = status.st_ino;
    watched_file().name = path.substr(path.rfind('/') + 1);
  }
  ~Watch() { watched_file() = {}; }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  WatchedFile* operator->() { return &watched_file(); }
};

}  // namespace cairn::testing_support

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {
int __real_openat(int folder, const char* name, int flags, ...);
int __wrap_openat(int folder, const char* name, int flags, ...);
int __real_fstat(int fd, struct stat* status);
int __wrap_fstat(int fd, struct stat* status);
ssize_t __real_pread(int fd, void* out, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void* out, size_t size, off_t offset);

int __wrap_openat(int folder, const char* name, int flags, ...) {
  auto& file = cairn::testing_support::watched_file();
  if (file.on_open && file.name == name) file.on_open();
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return __real_openat(folder, name, flags, mode);
}

int __wrap_fstat(int fd, struct stat* status) {
  const int result = __real_fstat(fd, status);
  auto& file = cairn::testing_support::watched_file();
  if (result == 0 && file.on_stat && status->st_ino == file.inode) {
    errno = file.on_stat();
    if (errno != 0) return -1;
  }
  return result;
}

ssize_t __wrap_pread(int fd, void* out, size_t size, off_t offset) {
  auto& file = cairn::testing_support::watched_file();
  struct stat status;
  if (file.on_read && __real_fstat(fd, &status) == 0 &&
      status.st_ino == file.inode) {
    errno = file.on_read(static_cast<std::uint64_t>(offset));
    if (errno != 0) return -1;
  }
  return __real_pread(fd, out, size, offset);
}
}
// NOLINTEND(bugprone-reserved-identifier)
