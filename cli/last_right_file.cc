#include "cli/last_right_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <system_error>

#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "last-right-";
constexpr std::string_view kEnding = ".yaml";

bool lock(const ingest::UniqueFd& fd) {
  return ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

// Whoever removes what was left behind may come between its making and lock.
bool is_there(const ingest::UniqueFd& fd) {
  struct stat status {};
  return ::fstat(fd.get(), &status) == 0 && status.st_nlink > 0;
}

void remove_left_behind(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kEnding)) continue;
    const ingest::UniqueFd fd(::open(
        at->path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd && lock(fd)) ::unlink(at->path().c_str());
  }
}

}  // namespace

LastRightFile::LastRightFile(const fs::path& state)
    : folder_(state / "daemon") {
  remove_left_behind(folder_);
}

LastRightFile::~LastRightFile() { drop(); }

const fs::path& LastRightFile::of(const std::string& text) {
  while (!fd_ || !is_there(fd_)) try_to_make(text);
  return file_;
}

void LastRightFile::try_to_make(const std::string& text) {
  drop();
  std::error_code error;
  fs::create_directories(folder_, error);
  std::string name =
      folder_ / (std::string(kPrefix) + "XXXXXX" + std::string(kEnding));
  fd_ = ingest::UniqueFd(
      ::mkostemps(name.data(), static_cast<int>(kEnding.size()), O_CLOEXEC));
  if (!fd_) repo::throw_system_error(name, errno);
  file_ = name;
  if (!lock(fd_) && errno == EWOULDBLOCK) {
    drop();  // before somebody else does, who takes it for left behind
    return;
  }
  std::string_view left = text;
  while (!left.empty()) {
    const ssize_t size = ::write(fd_.get(), left.data(), left.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      const int why = errno;
      drop();
      repo::throw_system_error(name, why);
    }
    left.remove_prefix(static_cast<std::size_t>(size));
  }
}

void LastRightFile::drop() noexcept {
  if (!fd_) return;
  ::unlink(file_.c_str());
  fd_ = ingest::UniqueFd();
}

}  // namespace cairn::cli
