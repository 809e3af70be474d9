#include "ingest/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {

namespace fs = std::filesystem;

WholeFile::WholeFile(fs::path path, Durability durability)
    : path_(std::move(path)),
      aside_(path_.string() + ".cairn-" + std::to_string(::getpid())),
      durability_(durability) {
  const fs::path parent = path_.parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  constexpr int kMode = 0600;
  file_ =
      UniqueFd(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode));
  if (file_) return;
  if (errno != EOPNOTSUPP && errno != EISDIR) fail("cannot create");
  file_ = UniqueFd(::open(aside_.c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                          kMode));
  if (!file_) fail("cannot create");
  has_name_aside_ = true;
}

WholeFile::~WholeFile() {
  if (has_name_aside_) ::unlink(aside_.c_str());
}

void WholeFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot write");
    size_ += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void WholeFile::extend(std::uint64_t size) {
  assert(size >= size_);
  // Room is taken now: a hole that cannot be filled later is no zeros.
  const auto missing = static_cast<off_t>(size - size_);
  if (missing == 0) return;
  const int error =
      ::posix_fallocate(file_.get(), static_cast<off_t>(size_), missing);
  if (error != 0) {
    errno = error;
    fail("cannot write");
  }
  size_ = size;
}

void WholeFile::set_mode(mode_t mode) {
  if (::fchmod(file_.get(), mode) != 0) fail("cannot set its mode");
}

bool WholeFile::name_unless_taken() && {
  sync_file();
  if (!link_as(path_)) return false;
  sync_its_folder();
  return true;
}

void WholeFile::name_or_replace() && {
  sync_file();
  // A link cannot take the place of a file, and a rename needs a name.
  if (!has_name_aside_) {
    if (link_as(path_)) {
      sync_its_folder();
      return;
    }
    ::unlink(aside_.c_str());  // of one that was killed, with our number
    if (!link_as(aside_)) {
      errno = EEXIST;
      fail("cannot name it aside");
    }
    has_name_aside_ = true;
  }
  if (::rename(aside_.c_str(), path_.c_str()) != 0) fail("cannot name it");
  has_name_aside_ = false;
  sync_its_folder();
}

void WholeFile::sync_file() {
  if (durability_ == Durability::synced && ::fsync(file_.get()) != 0) {
    fail("cannot sync");
  }
}

void WholeFile::sync_its_folder() const {
  if (durability_ != Durability::synced) return;
  const UniqueFd folder(
      ::open(path_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) fail("cannot sync its folder");
}

// False: the name is taken.
bool WholeFile::link_as(const fs::path& name) {
  const std::string itself =
      has_name_aside_ ? aside_.string()
                      : "/proc/self/fd/" + std::to_string(file_.get());
  if (::linkat(AT_FDCWD, itself.c_str(), AT_FDCWD, name.c_str(),
               AT_SYMLINK_FOLLOW) == 0) {
    return true;
  }
  if (errno != EEXIST) fail("cannot name it");
  return false;
}

void WholeFile::fail(const char* what) const {
  repo::throw_system_error(path_.string() + ": " + what, errno);
}

}  // namespace cairn::ingest
