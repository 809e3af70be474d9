#include "cli/new_key_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>

#include "repo/error.h"
#include "repo/key_file.h"
#include "repo/keyring.h"

namespace cairn::cli {
namespace {

// The file's name survives a power cut only with its folder.
bool sync_folder_of(const std::string& path) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool is_synced = ::fsync(fd) == 0;
  ::close(fd);
  return is_synced;
}

[[noreturn]] void refuse_existing(const std::string& path) {
  throw repo::RefusedForSafety(path +
                               ": exists already, and may be somebody's key");
}

bool write_and_close(int fd, std::string_view text) {
  const bool is_written = ::write(fd, text.data(), text.size()) ==
                              static_cast<ssize_t>(text.size()) &&
                          ::fsync(fd) == 0;
  return (::close(fd) == 0) && is_written;
}

}  // namespace

NewKeyFile::NewKeyFile(std::string path) : path_(std::move(path)) {
  const int fd =
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno == EEXIST) refuse_existing(path_);
  if (fd < 0) repo::throw_system_error(path_, errno);
  std::string text = repo::key_file_text(key_);
  const bool is_whole = write_and_close(fd, text) && sync_folder_of(path_);
  const int error = errno;
  crypto::wipe(std::as_writable_bytes(std::span(text)));
  if (!is_whole) {
    ::unlink(path_.c_str());
    repo::throw_system_error(path_, error);
  }
}

void NewKeyFile::require_absent(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    refuse_existing(path);
  }
}

NewKeyFile::~NewKeyFile() {
  if (!is_kept_) ::unlink(path_.c_str());
}

}  // namespace cairn::cli
