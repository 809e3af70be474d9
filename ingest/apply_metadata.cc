#include "ingest/apply_metadata.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ingest/file_metadata.h"
#include "ingest/xattrs.h"

namespace cairn::ingest {
namespace {

constexpr long kFchmodat2 = 452;  // Linux 6.6

std::string proc_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// Of a descriptor of O_PATH too.
int change_mode(int fd, mode_t mode) {
  if (fchmod(fd, mode) == 0) return 0;
  if (errno != EBADF) return errno;
  if (syscall(kFchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0) return 0;
  if (errno != ENOSYS) return errno;
  return chmod(proc_path(fd).c_str(), mode) == 0 ? 0 : errno;
}

int change_modified(int fd, const repo::Timestamp& modified) {
  // utimensat has two special values above it.
  constexpr std::uint32_t kMostNanoseconds = 999'999'999;
  if (modified.nanoseconds > kMostNanoseconds) return EINVAL;
  timespec times[2]{};
  times[0].tv_nsec = UTIME_OMIT;  // the time of access is not kept
  times[1].tv_sec = modified.seconds;
  times[1].tv_nsec = modified.nanoseconds;
  if (futimens(fd, times) == 0) return 0;
  if (errno != EBADF) return errno;
  if (utimensat(fd, "", times, AT_EMPTY_PATH) == 0) return 0;
  if (errno != EINVAL && errno != ENOENT) return errno;
  return utimensat(AT_FDCWD, proc_path(fd).c_str(), times, 0) == 0 ? 0 : errno;
}

// One xattr that an earlier file of that name had, or that came from the
// folder: a default ACL. Labels of the running system's own security are its
// business.
bool is_removed_if_extra(const std::string& name) {
  return !name.starts_with("security.") || name == "security.capability";
}

// Applies one entry to one descriptor.
class Application {
 public:
  Application(int fd, const struct stat& now, const repo::Entry& entry,
              const std::string& path, Shortfalls& shortfalls)
      : fd_(fd),
        now_(now),
        entry_(entry),
        path_(path),
        shortfalls_(shortfalls) {}

  void run() {
    apply_owner();
    apply_xattrs();
    if (entry_.type != repo::EntryType::symlink) apply_mode();
    if (timestamp_of(now_.st_mtim) != entry_.modified) {
      note("times", change_modified(fd_, entry_.modified));
    }
  }

 private:
  void note(std::string_view what, int error) {
    if (error != 0) shortfalls_.add(what, error, path_);
  }

  int change_owner(uid_t uid, gid_t gid) {
    touched_ = true;
    return fchownat(fd_, "", uid, gid, AT_EMPTY_PATH) == 0 ? 0 : errno;
  }

  void apply_owner() {
    constexpr auto kKeepUid = static_cast<uid_t>(-1);
    constexpr auto kKeepGid = static_cast<gid_t>(-1);
    if (entry_.uid == now_.st_uid && entry_.gid == now_.st_gid) return;
    const bool is_possible = entry_.uid != kKeepUid && entry_.gid != kKeepGid;
    int error = is_possible ? change_owner(entry_.uid, entry_.gid) : EINVAL;
    if (error == 0) return;
    note("owner", error);
    has_owner_ = entry_.uid == now_.st_uid;
    has_group_ = entry_.gid == now_.st_gid ||
                 (is_possible && change_owner(kKeepUid, entry_.gid) == 0);
  }

  void apply_xattrs() {
    std::vector<repo::Xattr> present;
    const int error = XattrReader().read(fd_, "", present);
    const bool is_missed = error == E2BIG || !entry_.xattrs.empty();
    if (error != 0 && is_missed) note("xattrs", error);

    for (const repo::Xattr& extra : present) {
      if (std::ranges::find(entry_.xattrs, extra.name, &repo::Xattr::name) ==
              entry_.xattrs.end() &&
          is_removed_if_extra(extra.name)) {
        touched_ = true;
        note("xattr " + extra.name, remove_xattr(fd_, "", extra.name));
      }
    }
    for (const repo::Xattr& xattr : entry_.xattrs) {
      if (std::ranges::binary_search(present, xattr)) continue;
      touched_ = true;
      const bool is_allowed = is_kept_xattr(xattr.name) &&
                              xattr.name.find('\0') == std::string::npos;
      note("xattr " + xattr.name,
           is_allowed ? set_xattr(fd_, "", xattr) : EOPNOTSUPP);
    }
  }

  void apply_mode() {
    mode_t mode = entry_.mode & 07777;
    if (!has_owner_ && (mode & S_ISUID) != 0) {
      mode &= ~static_cast<mode_t>(S_ISUID);
      note("setuid", EPERM);
    }
    if (!has_group_ && (mode & S_ISGID) != 0) {
      mode &= ~static_cast<mode_t>(S_ISGID);
      note("setgid", EPERM);
    }
    if (!touched_ && mode == (now_.st_mode & 07777)) return;
    note("mode", change_mode(fd_, mode));
  }

  const int fd_;
  const struct stat& now_;
  const repo::Entry& entry_;
  const std::string& path_;
  Shortfalls& shortfalls_;

  bool has_owner_ = true;
  bool has_group_ = true;
  bool touched_ = false;  // something that may have changed the mode
};

}  // namespace

void apply_metadata(int fd, const struct stat& now, const repo::Entry& entry,
                    const std::string& path, Shortfalls& shortfalls) {
  Application(fd, now, entry, path, shortfalls).run();
}

bool has_metadata(int fd, const struct stat& now, const repo::Entry& entry) {
  const bool has_owner = now.st_uid == entry.uid && now.st_gid == entry.gid;
  if (static_cast<std::uint64_t>(now.st_size) != entry.size ||
      timestamp_of(now.st_mtim) != entry.modified ||
      (now.st_mode & 07777) != (entry.mode & 07777) ||
      (!has_owner && geteuid() == 0) || holes_of(fd, now) != entry.holes) {
    return false;
  }
  std::vector<repo::Xattr> present;
  const int error = XattrReader().read(fd, "", present);
  if (error != 0) return error != E2BIG && entry.xattrs.empty();
  std::erase_if(present, [&](const repo::Xattr& extra) {
    return !is_removed_if_extra(extra.name) &&
           std::ranges::find(entry.xattrs, extra.name, &repo::Xattr::name) ==
               entry.xattrs.end();
  });
  return present == entry.xattrs;
}

}  // namespace cairn::ingest
