#include "cli/dump_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "repo/error.h"

namespace cairn::cli {
namespace {

[[noreturn]] void refuse_existing(const std::string& path) {
  throw repo::RefusedForSafety(path + ": exists already");
}

}  // namespace

DumpFile::DumpFile(std::string path)
    : path_(std::move(path)), aside_(path_ + ".partial") {
  require_absent(path_);
  file_ = ingest::UniqueFd(
      ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file_) return;
  const int error = errno;
  const std::string aside = std::exchange(aside_, {});
  if (error == EEXIST) {
    throw repo::RefusedForSafety(aside +
                                 ": exists already, of a run that was killed "
                                 "or that still writes it");
  }
  repo::throw_system_error(aside, error);
}

DumpFile::~DumpFile() {
  if (!aside_.empty()) ::unlink(aside_.c_str());
}

void DumpFile::require_absent(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    refuse_existing(path);
  }
}

void DumpFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::write(file_.get(), bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) repo::throw_system_error(path_ + ": cannot write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
}

// By a link, which takes no other file's place, where there are links.
void DumpFile::publish() {
  if (::fsync(file_.get()) != 0) repo::throw_system_error(path_, errno);
  if (::link(aside_.c_str(), path_.c_str()) == 0) {
    ::unlink(aside_.c_str());
  } else if (errno == EEXIST) {
    refuse_existing(path_);
  } else if (::rename(aside_.c_str(), path_.c_str()) != 0) {
    repo::throw_system_error(path_, errno);
  }
  aside_.clear();
  const auto folder = std::filesystem::absolute(path_).parent_path();
  const ingest::UniqueFd above(
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!above || ::fsync(above.get()) != 0) {
    repo::throw_system_error(folder.string(), errno);
  }
}

}  // namespace cairn::cli
