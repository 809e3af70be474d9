#include "ingest/placement.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>

#include "crypto/random.h"
#include "ingest/apply_metadata.h"
#include "ingest/file_error.h"
#include "ingest/folder_names.h"
#include "ingest/open_beneath.h"

namespace cairn::ingest {
namespace {

constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
// Readable too: what was written may be verified before the file gets its name.
constexpr int kNewFile = O_RDWR | O_CREAT | O_EXCL;
constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kOwnerAll = 0700;
constexpr mode_t kModeBits = 07777;

constexpr std::string_view kTemporary = ".cairn-";

// How often a name is tried again that changes under us.
constexpr int kMostAttempts = 16;

[[noreturn]] void give_up(const Spot& spot) {
  throw repo::IoError(spot.path + ": changes again and again");
}

[[noreturn]] void refuse_existing(const Spot& spot) {
  throw repo::RefusedForSafety(spot.path + ": exists already");
}

// Calls `make` with names until one is free; the error of the last call and its
// name. Anybody may guess the names, and gains nothing: `make` never takes what
// is there.
std::pair<int, std::string> make_with_temporary_name(
    const std::function<int(const char*)>& make) {
  // From anywhere on: a snapshot may hold what a killed restore left, and in a
  // container many processes have the same number.
  static std::atomic<std::uint64_t> count =
      std::bit_cast<std::uint64_t>(crypto::random_array<8>());
  for (;;) {
    std::string name = std::string(kTemporary) + std::to_string(getpid()) +
                       "-" + std::to_string(++count);
    const int error = make(name.c_str());
    if (error != EEXIST) return {error, std::move(name)};
  }
}

// The process of a temporary name.
std::optional<pid_t> process_in(std::string_view name) {
  if (!name.starts_with(kTemporary)) return std::nullopt;
  name.remove_prefix(kTemporary.size());
  pid_t process = 0;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, process);
  if (first.ec != std::errc() || process <= 0 || first.ptr == end ||
      *first.ptr != '-') {
    return std::nullopt;
  }
  const auto second = std::from_chars(first.ptr + 1, end, number);
  if (second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return process;
}

// Nothing: not possible, for whatever reason.
UniqueFd open_unnamed(int folder) {
  return UniqueFd(uninterrupted([&] {
    return openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kPrivateFile);
  }));
}

// 0 or an errno.
int link_unnamed(int file, int folder, const char* name) {
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  const int flags = AT_SYMLINK_FOLLOW;
  return linkat(AT_FDCWD, path.c_str(), folder, name, flags) == 0 ? 0 : errno;
}

// Whether anything has the entry's name, be it what cannot be opened.
bool is_anything_there(const Spot& spot) {
  struct stat status;
  const char* const name = spot.entry.name.c_str();
  if (fstatat(spot.folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return true;
  }
  if (errno != ENOENT) throw_io_error(spot.path, "create", errno);
  return false;
}

// A link replaces nothing, and a rename needs a name. 0 or an errno.
int replace_by_unnamed(int folder, int file, const char* name) {
  const auto [error, aside] = make_with_temporary_name(
      [&](const char* free) { return link_unnamed(file, folder, free); });
  if (error != 0) return error;
  if (renameat(folder, aside.c_str(), folder, name) == 0) return 0;
  const int not_renamed = errno;
  unlinkat(folder, aside.c_str(), 0);
  return not_renamed;
}

// For file systems and kernels without RENAME_NOREPLACE. 0 or an errno.
int rename_by_link(int folder, const char* from, const char* to) {
  if (linkat(folder, from, folder, to, 0) == 0) {
    unlinkat(folder, from, 0);
    return 0;
  }
  if (errno == EEXIST) return EEXIST;
  // No links either, as on FAT. Who makes the name in this moment loses.
  struct stat status;
  if (fstatat(folder, to, &status, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
  return renameat(folder, from, folder, to) == 0 ? 0 : errno;
}

enum class Existing { stays, gone, to_be_replaced };

// Makes way for what is no folder. A folder must be empty, and is removed;
// anything else is there until the new one takes its name.
Existing make_way(const Spot& spot) {
  if (spot.overwrite == Overwrite::never) return Existing::stays;
  if (spot.overwrite == Overwrite::refuse) refuse_existing(spot);
  if (unlinkat(spot.folder, spot.entry.name.c_str(), AT_REMOVEDIR) == 0) {
    return Existing::gone;
  }
  if (errno == ENOENT) return Existing::gone;
  if (errno == ENOTDIR) return Existing::to_be_replaced;
  if (errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY) {
    throw repo::RefusedForSafety(spot.path +
                                 ": a folder that is not empty is in the way");
  }
  throw_io_error(spot.path, "remove", errno);
}

// A folder that is to get its metadata anew may be opened for us meanwhile.
UniqueFd open_existing_folder(const Spot& spot) {
  const char* const name = spot.entry.name.c_str();
  UniqueFd folder = open_beneath(spot.folder, name, kOpenFolder);
  if (spot.overwrite == Overwrite::never) return folder;
  if (!folder && errno == EACCES) {
    const UniqueFd closed =
        open_beneath(spot.folder, name, O_PATH | O_DIRECTORY);
    const std::string proc = "/proc/self/fd/" + std::to_string(closed.get());
    if (!closed || chmod(proc.c_str(), kOwnerAll) != 0) {
      errno = EACCES;
      return {};
    }
    folder = open_beneath(spot.folder, name, kOpenFolder);
  }
  struct stat status;
  if (folder && geteuid() != 0 && fstat(folder.get(), &status) == 0 &&
      (status.st_mode & kOwnerAll) != kOwnerAll) {
    // Refused where the folder is another's; then its entries will say so.
    (void)fchmod(folder.get(), (status.st_mode & kModeBits) | kOwnerAll);
  }
  return folder;
}

// Whether a file may stay and get its metadata where it is. Not one with
// another name, which may lie outside the target; nor one that somebody else
// could still write when it has become another's.
bool may_stay(const struct stat& existing, const repo::Entry& entry) {
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
  const bool is_trusted =
      existing.st_uid == geteuid() || existing.st_uid == entry.uid;
  return S_ISREG(existing.st_mode) && existing.st_nlink == 1 && is_trusted &&
         (existing.st_mode & kOthersWrite & ~entry.mode) == 0;
}

PlacedFile::Place place_of_new(const Spot& spot) {
  const bool may_replace = spot.overwrite == Overwrite::if_changed ||
                           spot.overwrite == Overwrite::always;
  return may_replace ? PlacedFile::Place::taken : PlacedFile::Place::free;
}

UniqueFd open_to_compare(const Spot& spot) {
  UniqueFd file =
      open_beneath(spot.folder, spot.entry.name.c_str(), O_RDONLY | O_NONBLOCK);
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0 ||
      !may_stay(status, spot.entry)) {
    return {};
  }
  return file;
}

UnnamedFiles try_unnamed_files(int folder) {
  const UniqueFd file = open_unnamed(folder);
  if (!file) return UnnamedFiles::no;
  const auto [error, name] = make_with_temporary_name([&](const char* aside) {
    return link_unnamed(file.get(), folder, aside);
  });
  if (error != 0) return UnnamedFiles::no;  // without /proc, say
  unlinkat(folder, name.c_str(), 0);
  return UnnamedFiles::yes;
}

}  // namespace

std::optional<PlacedFolder> place_folder(const Spot& spot) {
  const char* const name = spot.entry.name.c_str();
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const bool is_new = mkdirat(spot.folder, name, kOwnerAll) == 0;
    if (!is_new && errno != EEXIST) {
      throw_io_error(spot.path, "create", errno);
    }
    if (!is_new && spot.overwrite == Overwrite::refuse) refuse_existing(spot);
    UniqueFd folder = is_new ? open_beneath(spot.folder, name, kOpenFolder)
                             : open_existing_folder(spot);
    if (folder) {
      struct stat status;
      if (fstat(folder.get(), &status) != 0) {
        throw_io_error(spot.path, "stat", errno);
      }
      if (is_new && status.st_uid != geteuid()) {
        throw repo::RefusedForSafety(spot.path +
                                     ": replaced while it was being made");
      }
      return PlacedFolder{std::move(folder), is_new};
    }
    const bool is_no_folder = errno == ENOTDIR || errno == ELOOP;
    if (!is_no_folder && errno != ENOENT) {
      throw_io_error(spot.path, "open", errno);
    }
    if (is_no_folder && spot.overwrite == Overwrite::never) return std::nullopt;
    if (is_no_folder && unlinkat(spot.folder, name, 0) != 0 &&
        errno != ENOENT && errno != EISDIR) {
      throw_io_error(spot.path, "remove", errno);
    }
  }
  give_up(spot);
}

std::optional<PlacedFile> place_file(const Spot& spot) {
  if (!is_anything_there(spot)) {
    if (!spot.unnamed_files) {
      spot.unnamed_files = try_unnamed_files(spot.folder);
    }
    UniqueFd file;
    if (spot.unnamed_files == UnnamedFiles::yes) {
      file = open_unnamed(spot.folder);
    }
    if (!file) return place_beside(spot);
    return PlacedFile{std::move(file), place_of_new(spot), {}};
  }
  if (spot.overwrite == Overwrite::if_changed) {
    UniqueFd file = open_to_compare(spot);
    if (file) {
      return PlacedFile{std::move(file), PlacedFile::Place::compared, {}};
    }
  }
  if (make_way(spot) == Existing::stays) return std::nullopt;
  return place_beside(spot);
}

PlacedFile place_beside(const Spot& spot) {
  UniqueFd file;
  auto [error, temporary] = make_with_temporary_name([&](const char* name) {
    file = open_beneath(spot.folder, name, kNewFile, kPrivateFile);
    return file ? 0 : errno;
  });
  if (error != 0) throw_io_error(spot.path, "create", error);
  // For sweep_temporary_files() of a process that cannot see ours. Where
  // there are no locks, that finds none either.
  (void)flock(file.get(), LOCK_EX | LOCK_NB);
  return {std::move(file), place_of_new(spot), std::move(temporary)};
}

int give_name(int folder, const PlacedFile& file, const std::string& name) {
  const char* const to = name.c_str();
  if (file.temporary_name.empty()) {
    const int error = link_unnamed(file.fd.get(), folder, to);
    if (error != EEXIST || file.place == PlacedFile::Place::free) return error;
    return replace_by_unnamed(folder, file.fd.get(), to);
  }
  const char* const from = file.temporary_name.c_str();
  if (file.place == PlacedFile::Place::taken) {
    return renameat(folder, from, folder, to) == 0 ? 0 : errno;
  }
  if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  return rename_by_link(folder, from, to);
}

void sweep_temporary_files(int folder) {
  FolderNames names;
  if (names.read(folder) != 0) return;
  for (std::size_t i = 0; i < names.count(); ++i) {
    const auto process = process_in(names.name(i));
    if (!process) continue;
    const bool is_gone =
        *process == getpid() || (kill(*process, 0) != 0 && errno == ESRCH);
    if (!is_gone) continue;
    const UniqueFd file =
        open_beneath(folder, names.name(i), O_RDONLY | O_NONBLOCK);
    struct stat status;
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
      continue;
    }
    // It gets its owner, whom only root can give it, before its name.
    const bool is_ours = geteuid() == 0 || status.st_uid == geteuid();
    if (!is_ours || status.st_nlink != 1 ||
        flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      continue;
    }
    unlinkat(folder, names.name(i), 0);
  }
}

std::optional<PlacedFile> find_linked_file(const Spot& spot) {
  UniqueFd file =
      open_beneath(spot.folder, spot.entry.name.c_str(), O_RDONLY | O_NONBLOCK);
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_nlink == 1 || !has_metadata(file.get(), status, spot.entry)) {
    return std::nullopt;
  }
  return PlacedFile{std::move(file), PlacedFile::Place::kept, {}};
}

int place_by(const Spot& spot, const std::function<int(const char*)>& make) {
  const char* const name = spot.entry.name.c_str();
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const int error = make(name);
    if (error != EEXIST) return error;

    const Existing existing = make_way(spot);
    if (existing == Existing::stays) return 0;
    if (existing == Existing::gone) continue;
    const auto [failed, temporary] = make_with_temporary_name(make);
    if (failed != 0) return failed;
    if (renameat(spot.folder, temporary.c_str(), spot.folder, name) == 0) {
      return 0;
    }
    const int not_renamed = errno;
    unlinkat(spot.folder, temporary.c_str(), 0);
    return not_renamed;
  }
  give_up(spot);
}

}  // namespace cairn::ingest
