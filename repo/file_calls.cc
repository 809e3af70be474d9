#include "repo/file_calls.h"

#include <dirent.h>
#include <fcntl.h>

#include <memory>
#include <system_error>

#include "repo/error.h"

namespace cairn::repo {
namespace {

constexpr mode_t kFileMode = 0600;

}  // namespace

void fail(std::string_view object, std::string_view doing, int error) {
  const std::string what = std::string(object) + ": " + std::string(doing) +
                           ": " + std::generic_category().message(error);
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      throw OutOfSpace(what);
    case ESTALE:
    case ENODEV:
    case ENXIO:
    case ENOTCONN:  // a FUSE process that died
    case EHOSTDOWN:
      throw StorageUnreachable(what);
    default:
      throw IoError(what);  // EFBIG too: free space would not help
  }
}

UniqueFd open_at(int folder, const std::string& name, int flags) {
  return UniqueFd(uninterrupted([&] {
    return ::openat(folder, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW,
                    kFileMode);
  }));
}

UniqueFd open_folder_at(int folder, const std::string& name) {
  return open_at(folder, name, O_RDONLY | O_DIRECTORY);
}

UniqueFd open_root(const std::filesystem::path& path) {
  return UniqueFd(uninterrupted([&] {
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }));
}

void write_fully(int fd, std::span<const std::byte> bytes,
                 std::string_view object) {
  while (!bytes.empty()) {
    const auto written =
        uninterrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) fail(object, "cannot write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void read_fully(int fd, std::uint64_t offset, std::span<std::byte> out,
                std::string_view object) {
  while (!out.empty()) {
    const auto count = uninterrupted([&] {
      return ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    });
    if (count < 0) fail(object, "cannot read", errno);
    if (count == 0) {
      throw CorruptionError(std::string(object) + ": ends at " +
                            std::to_string(offset) + " bytes while being read");
    }
    offset += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
}

void sync_folder(int folder, std::string_view object) {
  if (::fsync(folder) == 0) return;
  if (errno == EINVAL || errno == EOPNOTSUPP) return;
  fail(object, "cannot sync its folder", errno);
}

struct stat look_at(int fd, std::string_view object) {
  struct stat found {};
  if (::fstat(fd, &found) != 0) fail(object, "cannot look at it", errno);
  return found;
}

std::vector<std::string> names_in(UniqueFd folder, std::string_view object) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(folder.get()),
                                                   &::closedir);
  if (!stream) fail(object, "cannot list", errno);
  (void)folder.release();  // the stream closes it

  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (!entry) break;
    names.emplace_back(entry->d_name);
  }
  if (errno != 0) fail(object, "cannot list", errno);
  return names;
}

}  // namespace cairn::repo
