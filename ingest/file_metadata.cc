#include "ingest/file_metadata.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

namespace cairn::ingest {
namespace {

// Calls getpwuid_r or getgrgid_r with as much room as it asks for.
template <typename Record, typename Call>
std::string name_of(Call call, char* Record::*name) {
  constexpr std::size_t kMostRoom = std::size_t{1} << 20;
  for (std::size_t room = 1024; room <= kMostRoom; room *= 4) {
    std::vector<char> text(room);
    Record record;
    Record* found = nullptr;
    const int error = call(&record, text.data(), text.size(), &found);
    if (error == ERANGE) continue;
    return error == 0 && found != nullptr ? found->*name : std::string();
  }
  return {};
}

}  // namespace

repo::Timestamp timestamp_of(const timespec& time) noexcept {
  return {.seconds = time.tv_sec,
          .nanoseconds = static_cast<std::uint32_t>(time.tv_nsec)};
}

FileState state_of(const struct stat& status) noexcept {
  return {.size = static_cast<std::uint64_t>(status.st_size),
          .modified = timestamp_of(status.st_mtim),
          .changed = timestamp_of(status.st_ctim),
          .device = status.st_dev,
          .inode = status.st_ino};
}

std::optional<repo::EntryType> type_of(mode_t mode) noexcept {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return repo::EntryType::file;
    case S_IFDIR:
      return repo::EntryType::folder;
    case S_IFLNK:
      return repo::EntryType::symlink;
    case S_IFIFO:
      return repo::EntryType::fifo;
    case S_IFCHR:
      return repo::EntryType::char_device;
    case S_IFBLK:
      return repo::EntryType::block_device;
    default:
      return std::nullopt;
  }
}

const std::string& OwnerNames::user(uid_t uid) {
  const auto [at, added] = users_.try_emplace(uid);
  if (added) {
    at->second = name_of<passwd>(
        [uid](auto... room) { return getpwuid_r(uid, room...); },
        &passwd::pw_name);
  }
  return at->second;
}

const std::string& OwnerNames::group(gid_t gid) {
  const auto [at, added] = groups_.try_emplace(gid);
  if (added) {
    at->second = name_of<::group>(
        [gid](auto... room) { return getgrgid_r(gid, room...); },
        &::group::gr_name);
  }
  return at->second;
}

void set_from_status(repo::Entry& entry, const struct stat& status,
                     OwnerNames& names) {
  const repo::EntryType type = *type_of(status.st_mode);
  entry.type = type;
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.user = names.user(status.st_uid);
  entry.group = names.group(status.st_gid);
  entry.modified = timestamp_of(status.st_mtim);
  entry.size = type == repo::EntryType::file
                   ? static_cast<std::uint64_t>(status.st_size)
                   : 0;
  entry.hard_link.reset();
  if (status.st_nlink > 1 && type != repo::EntryType::folder) {
    entry.hard_link = {.device = status.st_dev, .inode = status.st_ino};
  }
  entry.device.reset();
  if (type == repo::EntryType::char_device ||
      type == repo::EntryType::block_device) {
    entry.device = {.major = major(status.st_rdev),
                    .minor = minor(status.st_rdev)};
  }
  entry.symlink_target.clear();
  entry.xattrs.clear();
  entry.holes.clear();
  entry.profile = repo::Profile::cdc;
}

int read_symlink(int folder, const char* name, std::string& target) {
  target.resize(4096);  // PATH_MAX, the most the kernel stores
  const ssize_t size = readlinkat(folder, name, target.data(), target.size());
  const int error = size < 0 ? errno : 0;
  target.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return error;
}

std::vector<repo::Extent> holes_of(int fd, const struct stat& status) {
  constexpr blkcnt_t kBlockBytes = 512;  // of st_blocks, on every file system
  std::vector<repo::Extent> holes;
  const off_t size = status.st_size;
  if (status.st_blocks >= size / kBlockBytes + (size % kBlockBytes != 0)) {
    return holes;
  }
  off_t at = 0;
  while (at < size && holes.size() < kMaxHoles) {
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return {};  // a file system without holes
    if (data < 0 || data > size) data = size;   // ENXIO: no data up to the end
    if (data < at) return {};                   // nonsense; all is data
    if (data > at) {
      holes.push_back({.offset = static_cast<std::uint64_t>(at),
                       .size = static_cast<std::uint64_t>(data - at)});
    }
    if (data == size) break;
    at = lseek(fd, data, SEEK_HOLE);
    if (at <= data) break;  // changed meanwhile: the rest is data
  }
  return holes;
}

}  // namespace cairn::ingest
