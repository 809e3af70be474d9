#include "repo/own_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/error.h"

namespace cairn::repo {
namespace {

namespace fs = std::filesystem;

constexpr int kOpen = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

}  // namespace

OwnFolder::OwnFolder(const fs::path& parent, std::string_view prefix) {
  while (!make_in(parent, prefix)) {
  }
}

OwnFolder::~OwnFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  ::close(fd_);
}

std::size_t OwnFolder::sweep(const fs::path& parent, std::string_view prefix) {
  std::size_t left = 0;
  std::error_code error;
  for (fs::directory_iterator at(parent, error), end; !error && at != end;
       at.increment(error)) {
    if (!at->path().filename().string().starts_with(prefix)) continue;
    std::error_code failed;
    const int fd = ::open(at->path().c_str(), kOpen);
    const bool is_nobodys = fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (is_nobodys) fs::remove_all(at->path(), failed);
    if (!is_nobodys || failed) ++left;
    if (fd >= 0) ::close(fd);
  }
  return left;
}

// False: another process took it for one that was left.
bool OwnFolder::make_in(const fs::path& parent, std::string_view prefix) {
  path_ = parent /
          (std::string(prefix) + crypto::to_hex(crypto::random_array<8>()));
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw_system_error(path_.string(), error.value());
  fd_ = ::open(path_.c_str(), kOpen);
  if (fd_ < 0 && errno == ENOENT) return false;
  if (fd_ < 0) throw_system_error(path_.string(), errno);
  const bool is_taken =
      ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct stat status {};
  if (!is_taken && ::stat(path_.c_str(), &status) == 0) return true;
  ::close(fd_);
  return false;
}

}  // namespace cairn::repo
