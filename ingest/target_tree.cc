#include "ingest/target_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cassert>
#include <utility>

#include "ingest/apply_metadata.h"
#include "ingest/file_error.h"
#include "ingest/folder_chain.h"
#include "ingest/folder_names.h"
#include "ingest/open_beneath.h"
#include "ingest/target_file_state.h"

namespace cairn::ingest {
namespace {

constexpr int kOpenFolder = O_RDONLY | O_DIRECTORY | O_NONBLOCK;

// How often a name is tried again that changes under us.
constexpr int kMostAttempts = 16;

void check_name(const std::string& name) {
  const bool may_occur = !name.empty() && name != "." && name != ".." &&
                         name.find('/') == std::string::npos &&
                         name.find('\0') == std::string::npos;
  if (!may_occur) {
    throw repo::CorruptionError("a snapshot's entry is named '" + name + "'");
  }
}

[[noreturn]] void refuse_existing(const std::string& path) {
  throw repo::RefusedForSafety(path + ": exists already");
}

// Whether a file may be rewritten where it is. Not one with another name, which
// may lie outside the target; nor one that somebody else could still write when
// it has become another's.
bool may_be_rewritten(const struct stat& existing, const repo::Entry& entry) {
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
  const bool is_trusted =
      existing.st_uid == geteuid() || existing.st_uid == entry.uid;
  return S_ISREG(existing.st_mode) && existing.st_nlink == 1 && is_trusted &&
         (existing.st_mode & kOthersWrite & ~entry.mode) == 0;
}

mode_t type_bits(repo::EntryType type) {
  switch (type) {
    case repo::EntryType::symlink:
      return S_IFLNK;
    case repo::EntryType::fifo:
      return S_IFIFO;
    case repo::EntryType::char_device:
      return S_IFCHR;
    case repo::EntryType::block_device:
      return S_IFBLK;
    default:
      assert(!"a symlink, fifo or device");
      return 0;
  }
}

// 0 or an errno.
int make_other(int folder, const char* name, const repo::Entry& entry) {
  constexpr mode_t kPrivate = 0600;
  if (entry.type == repo::EntryType::symlink) {
    const int result = symlinkat(entry.symlink_target.c_str(), folder, name);
    return result == 0 ? 0 : errno;
  }
  dev_t number = 0;
  if (entry.device) number = makedev(entry.device->major, entry.device->minor);
  return mknodat(folder, name, type_bits(entry.type) | kPrivate, number) == 0
             ? 0
             : errno;
}

}  // namespace

struct TargetTree::State {
  struct Folder {
    // Shared with the unfinished files in it.
    std::shared_ptr<TargetFolder> target;
    std::size_t path_size = 0;
    // Known once it, or a folder below it, holds a file with several names.
    std::optional<FolderPaths::Id> id;
  };

  State(UniqueFd root, std::string root_path, Overwrite mode)
      : overwrite(mode),
        path(std::move(root_path)),
        shared(std::make_shared<TargetShared>()),
        chain(std::move(root), O_RDONLY) {}

  // The current folder's descriptor.
  int fd() const {
    if (chain.fd() < 0) {
      throw repo::IoError(path + ": moved away while it was being restored");
    }
    return chain.fd();
  }

  std::string path_of(std::string_view name) const {
    return path + "/" + std::string(name);
  }

  // "" in the folder of the temporary name that `make` succeeded with. `make`
  // returns 0 or an errno.
  template <typename Make>
  std::pair<int, std::string> with_temporary_name(Make make) {
    for (;;) {
      std::string name = ".cairn-" + std::to_string(getpid()) + "-" +
                         std::to_string(++temporary_names);
      const int error = make(name.c_str());
      if (error != EEXIST) return {error, std::move(name)};
    }
  }

  // What to do about something that has an entry's name.
  enum class Existing { stays, gone, is_replaced };

  // Makes way for a file or the like. A folder must be empty, and is removed;
  // anything else stays until the new one takes its name.
  Existing make_way(const std::string& name) {
    if (overwrite == Overwrite::never) return Existing::stays;
    if (overwrite == Overwrite::refuse) refuse_existing(path_of(name));
    if (unlinkat(fd(), name.c_str(), AT_REMOVEDIR) == 0) return Existing::gone;
    if (errno == ENOENT) return Existing::gone;
    if (errno == ENOTDIR) return Existing::is_replaced;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY) {
      throw repo::RefusedForSafety(
          path_of(name) + ": a folder that is not empty is in the way");
    }
    throw_io_error(path_of(name), "remove", errno);
  }

  struct OpenedFolder {
    UniqueFd fd;
    bool is_new = false;
  };
  std::optional<OpenedFolder> open_or_make_folder(const repo::Entry& entry);
  UniqueFd open_existing_folder(const char* name) const;

  void open_file(TargetFile::State& file);
  bool open_to_rewrite(TargetFile::State& file);
  LinkedPlace finish_other(const char* name, const repo::Entry& entry);
  void remember_links(const repo::Entry& entry, LinkedPlace made);
  UniqueFd open_linked_folder(FolderPaths::Id id);
  int link_into_place(int from, const LinkedPlace& place,
                      const std::string& name);
  bool is_that_file(const char* name, const LinkedPlace& place) const;
  FolderPaths::Id id_of_current();

  const Overwrite overwrite;
  bool root_was_there = false;
  bool root_is_named = false;
  bool has_begun = false;
  bool is_finished = false;
  std::uint64_t temporary_names = 0;

  std::string path;  // of the current folder; "" for "/"
  // Sizes of `path` before each folder that is passed over.
  std::vector<std::size_t> passed_over;

  std::shared_ptr<TargetShared> shared;  // with the files
  FolderChain chain;
  std::vector<Folder> folders;  // as deep as the chain

  FolderPaths folder_paths;
  // The folder that a link was last made from: the next is often from there.
  FolderPaths::Id linked_folder = FolderPaths::kRoot;
  UniqueFd linked_folder_fd;
};

TargetTree::TargetTree(const std::filesystem::path& root, Overwrite overwrite) {
  namespace fs = std::filesystem;
  std::string path = root.native();
  while (path.ends_with('/')) path.pop_back();
  const fs::path whole = path.empty() ? fs::path("/") : fs::path(path);

  std::error_code error;
  if (whole.has_parent_path())
    fs::create_directories(whole.parent_path(), error);
  if (error) throw_io_error(whole.native(), "create", error.value());
  const bool is_new = mkdir(whole.c_str(), 0700) == 0;
  if (!is_new && errno != EEXIST && errno != EISDIR) {
    throw_io_error(whole.native(), "create", errno);
  }
  UniqueFd fd(uninterrupted(
      [&] { return open(whole.c_str(), kOpenFolder | O_CLOEXEC); }));
  if (!fd && errno == ENOTDIR) {
    throw repo::RefusedForSafety(whole.native() + ": not a folder");
  }
  if (!fd) throw_io_error(whole.native(), "open", errno);
  if (overwrite == Overwrite::refuse) {
    FolderNames names;
    const int refused = names.read(fd.get());
    if (refused != 0) throw_io_error(whole.native(), "list", refused);
    if (names.count() > 0) {
      throw repo::RefusedForSafety(whole.native() + ": not empty");
    }
  }
  state_ = std::make_unique<State>(std::move(fd), std::move(path), overwrite);
  state_->root_was_there = !is_new;
  state_->folders.push_back(
      {.target = std::make_shared<TargetFolder>(std::nullopt),
       .path_size = state_->path.size(),
       .id = FolderPaths::kRoot});
}

TargetTree::~TargetTree() = default;

Entered TargetTree::enter(const repo::Entry& entry) {
  State& tree = *state_;
  assert(entry.type == repo::EntryType::folder);
  if (entry.name.empty() && !std::exchange(tree.has_begun, true)) {
    tree.root_is_named = true;
    if (tree.overwrite != Overwrite::never || !tree.root_was_there) {
      tree.folders.front().target = std::make_shared<TargetFolder>(entry);
    }
    return Entered::yes;
  }
  check_name(entry.name);
  const std::size_t outer = tree.path.size();
  std::optional<State::OpenedFolder> folder;
  if (tree.passed_over.empty()) folder = tree.open_or_make_folder(entry);
  tree.has_begun = true;
  tree.path.append("/").append(entry.name);
  if (!folder) {
    tree.passed_over.push_back(outer);
    return Entered::passed_over;
  }
  std::optional<repo::Entry> metadata;
  if (folder->is_new || tree.overwrite != Overwrite::never) metadata = entry;
  tree.folders.push_back(
      {.target = std::make_shared<TargetFolder>(std::move(metadata)),
       .path_size = tree.path.size(),
       .id = std::nullopt});
  tree.chain.push(std::move(folder->fd), entry.name);
  return Entered::yes;
}

// Nothing: what is there is no folder and stays.
std::optional<TargetTree::State::OpenedFolder>
TargetTree::State::open_or_make_folder(const repo::Entry& entry) {
  const char* const name = entry.name.c_str();
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const bool is_new = mkdirat(fd(), name, 0700) == 0;
    if (!is_new && errno != EEXIST) {
      throw_io_error(path_of(entry.name), "create", errno);
    }
    if (!is_new && overwrite == Overwrite::refuse) {
      refuse_existing(path_of(entry.name));
    }
    UniqueFd folder = is_new ? open_beneath(fd(), name, kOpenFolder)
                             : open_existing_folder(name);
    if (folder) {
      struct stat status;
      if (fstat(folder.get(), &status) != 0) {
        throw_io_error(path_of(entry.name), "stat", errno);
      }
      if (is_new && status.st_uid != geteuid()) {
        throw repo::RefusedForSafety(path_of(entry.name) +
                                     ": replaced while it was being made");
      }
      return OpenedFolder{std::move(folder), is_new};
    }
    const bool is_no_folder = errno == ENOTDIR || errno == ELOOP;
    if (!is_no_folder && errno != ENOENT) {
      throw_io_error(path_of(entry.name), "open", errno);
    }
    if (is_no_folder && overwrite == Overwrite::never) return std::nullopt;
    if (is_no_folder && unlinkat(fd(), name, 0) != 0 && errno != ENOENT &&
        errno != EISDIR) {
      throw_io_error(path_of(entry.name), "remove", errno);
    }
  }
  throw repo::IoError(path_of(entry.name) + ": changes again and again");
}

// A folder that is to get its metadata anew may be opened for us meanwhile.
UniqueFd TargetTree::State::open_existing_folder(const char* name) const {
  constexpr mode_t kOwnerAll = 0700;
  UniqueFd folder = open_beneath(fd(), name, kOpenFolder);
  if (overwrite == Overwrite::never) return folder;
  if (!folder && errno == EACCES) {
    const UniqueFd closed = open_beneath(fd(), name, O_PATH | O_DIRECTORY);
    const std::string proc = "/proc/self/fd/" + std::to_string(closed.get());
    if (!closed || chmod(proc.c_str(), kOwnerAll) != 0) {
      errno = EACCES;
      return {};
    }
    folder = open_beneath(fd(), name, kOpenFolder);
  }
  struct stat status;
  if (folder && geteuid() != 0 && fstat(folder.get(), &status) == 0 &&
      (status.st_mode & kOwnerAll) != kOwnerAll) {
    // Refused where the folder is another's; then its entries will say so.
    (void)fchmod(folder.get(), (status.st_mode & 07777) | kOwnerAll);
  }
  return folder;
}

void TargetTree::leave() {
  State& tree = *state_;
  if (!tree.passed_over.empty()) {
    tree.path.resize(tree.passed_over.back());
    tree.passed_over.pop_back();
    return;
  }
  if (tree.folders.size() == 1) return;  // the root waits for finish()
  const auto fd = tree.chain.share();
  const auto folder = tree.folders.back().target;
  std::string path = tree.path;
  tree.folders.pop_back();
  tree.path.resize(tree.folders.back().path_size);
  // The way back first: the folder's own mode may close it.
  tree.chain.pop();
  if (!fd) {
    throw repo::IoError(path + ": moved away while it was being restored");
  }
  folder->leave(fd->get(), std::move(path), tree.shared->shortfalls);
}

std::optional<TargetFile> TargetTree::create_file(const repo::Entry& entry) {
  State& tree = *state_;
  assert(repo::has_content(entry.type));
  check_name(entry.name);
  tree.has_begun = true;
  if (!tree.passed_over.empty()) return std::nullopt;

  auto file = std::make_unique<TargetFile::State>();
  file->entry = entry;
  file->path = tree.path_of(entry.name);
  tree.open_file(*file);
  if (!file->fd) return std::nullopt;
  file->shared = tree.shared;
  file->folder = tree.folders.back().target;
  file->folder_fd = tree.chain.share();
  file->folder->file_begins();
  file->has_begun = true;
  if (entry.hard_link) {
    const FolderPaths::Id id = tree.id_of_current();
    if (tree.shared->linked.begin(*entry.hard_link)) file->linked_folder = id;
  }
  return TargetFile(std::move(file));
}

// Leaves file.fd closed if what exists stays.
void TargetTree::State::open_file(TargetFile::State& file) {
  constexpr int kNewFile = O_RDWR | O_CREAT | O_EXCL;
  constexpr mode_t kPrivate = 0600;
  using Place = TargetFile::State::Place;
  const std::string& name = file.entry.name;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    file.place = Place::empty;
    file.fd = open_beneath(fd(), name.c_str(), kNewFile, kPrivate);
    if (file.fd) return;
    if (errno != EEXIST) throw_io_error(file.path, "create", errno);
    if (overwrite == Overwrite::if_changed && open_to_rewrite(file)) return;

    const Existing existing = make_way(name);
    if (existing == Existing::stays) return;
    if (existing == Existing::gone) continue;
    auto [error, temporary] = with_temporary_name([&](const char* unused) {
      file.fd = open_beneath(fd(), unused, kNewFile, kPrivate);
      return file.fd ? 0 : errno;
    });
    if (error != 0) throw_io_error(file.path, "create", error);
    file.place = Place::taken;
    file.temporary_name = std::move(temporary);
    return;
  }
  throw repo::IoError(file.path + ": changes again and again");
}

bool TargetTree::State::open_to_rewrite(TargetFile::State& file) {
  file.fd = open_beneath(fd(), file.entry.name.c_str(), O_RDWR | O_NONBLOCK);
  struct stat status;
  if (!file.fd || fstat(file.fd.get(), &status) != 0 ||
      !may_be_rewritten(status, file.entry)) {
    file.fd = {};
    return false;
  }
  // Nobody is to read the new content who may not read it in the end.
  const mode_t kept = status.st_mode & 07777 & file.entry.mode;
  if (kept != (status.st_mode & 07777) && fchmod(file.fd.get(), kept) != 0) {
    file.fd = {};
    return false;
  }
  file.place = TargetFile::State::Place::rewritten;
  return true;
}

void TargetTree::create_other(const repo::Entry& entry) {
  State& tree = *state_;
  check_name(entry.name);
  const bool is_device = entry.type == repo::EntryType::char_device ||
                         entry.type == repo::EntryType::block_device;
  if (is_device && !entry.device) {
    throw repo::CorruptionError(path_of(entry.name) +
                                ": a device without its number");
  }
  if (entry.symlink_target.find('\0') != std::string::npos) {
    throw repo::CorruptionError(path_of(entry.name) +
                                ": a symlink's target holds a NUL");
  }
  tree.has_begun = true;
  if (!tree.passed_over.empty()) return;

  const auto refused = [&](int error) {
    if (!is_device || error != EPERM) {
      throw_io_error(path_of(entry.name), "create", error);
    }
    tree.shared->shortfalls.add("device", error, path_of(entry.name));
  };
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const int error = make_other(tree.fd(), entry.name.c_str(), entry);
    if (error == 0) {
      const LinkedPlace made = tree.finish_other(entry.name.c_str(), entry);
      return tree.remember_links(entry, made);
    }
    if (error != EEXIST) return refused(error);

    const State::Existing existing = tree.make_way(entry.name);
    if (existing == State::Existing::stays) return;
    if (existing == State::Existing::gone) continue;
    const auto [failed, temporary] =
        tree.with_temporary_name([&](const char* unused) {
          return make_other(tree.fd(), unused, entry);
        });
    if (failed != 0) return refused(failed);
    const LinkedPlace made = tree.finish_other(temporary.c_str(), entry);
    if (renameat(tree.fd(), temporary.c_str(), tree.fd(), entry.name.c_str()) !=
        0) {
      const int not_renamed = errno;
      unlinkat(tree.fd(), temporary.c_str(), 0);
      throw_io_error(path_of(entry.name), "rename", not_renamed);
    }
    return tree.remember_links(entry, made);
  }
  throw repo::IoError(path_of(entry.name) + ": changes again and again");
}

// By a descriptor of what was just made, and only if it is that: `name` may be
// another file by now, which is nothing to change the owner of.
LinkedPlace TargetTree::State::finish_other(const char* name,
                                            const repo::Entry& entry) {
  const UniqueFd made = open_beneath(fd(), name, O_PATH);
  struct stat now;
  if (!made || fstat(made.get(), &now) != 0) {
    throw_io_error(path_of(entry.name), "open", errno);
  }
  if ((now.st_mode & S_IFMT) != type_bits(entry.type) ||
      now.st_uid != geteuid() || now.st_nlink != 1) {
    throw repo::RefusedForSafety(path_of(entry.name) +
                                 ": replaced while it was being made");
  }
  apply_metadata(made.get(), now, entry, path_of(entry.name),
                 shared->shortfalls);
  return {.folder = FolderPaths::kRoot,
          .name = entry.name,
          .device = now.st_dev,
          .inode = now.st_ino};
}

void TargetTree::State::remember_links(const repo::Entry& entry,
                                       LinkedPlace made) {
  if (!entry.hard_link || !shared->linked.begin(*entry.hard_link)) return;
  made.folder = id_of_current();
  shared->linked.finish(*entry.hard_link, std::move(made));
}

Linked TargetTree::link(const repo::Entry& entry) {
  State& tree = *state_;
  check_name(entry.name);
  assert(entry.hard_link);
  tree.has_begun = true;
  if (!tree.passed_over.empty()) return Linked::done;

  const auto known = tree.shared->linked.find(*entry.hard_link);
  if (!known.is_known) return Linked::unknown;
  if (!known.place) return Linked::unfinished;
  const LinkedPlace& place = *known.place;
  const UniqueFd folder = tree.open_linked_folder(place.folder);
  const int error =
      folder ? tree.link_into_place(folder.get(), place, entry.name) : errno;
  if (error == 0) return Linked::done;
  // Too many links, a file system without them, the earlier one moved away.
  tree.shared->shortfalls.add("hard link", error, path_of(entry.name));
  return Linked::unknown;
}

// 0 or an errno.
int TargetTree::State::link_into_place(int from, const LinkedPlace& place,
                                       const std::string& name) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const auto make = [&](const char* as) {
      if (linkat(from, place.name.c_str(), fd(), as, 0) != 0) return errno;
      if (is_that_file(as, place)) return 0;
      unlinkat(fd(), as, 0);
      return ENOENT;
    };
    const int error = make(name.c_str());
    if (error != EEXIST) return error;
    if (is_that_file(name.c_str(), place)) return 0;

    const Existing existing = make_way(name);
    if (existing == Existing::stays) return 0;
    if (existing == Existing::gone) continue;
    const auto [failed, temporary] = with_temporary_name(make);
    if (failed != 0) return failed;
    if (renameat(fd(), temporary.c_str(), fd(), name.c_str()) == 0) return 0;
    const int not_renamed = errno;
    unlinkat(fd(), temporary.c_str(), 0);
    return not_renamed;
  }
  return EBUSY;
}

bool TargetTree::State::is_that_file(const char* name,
                                     const LinkedPlace& place) const {
  struct stat status;
  return fstatat(fd(), name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         status.st_dev == place.device && status.st_ino == place.inode;
}

// Nothing, with errno, where the way there no longer leads through folders.
UniqueFd TargetTree::State::open_linked_folder(FolderPaths::Id id) {
  if (folders.back().id == id) {
    return UniqueFd(fcntl(fd(), F_DUPFD_CLOEXEC, 0));
  }
  if (!linked_folder_fd || linked_folder != id) {
    linked_folder_fd = {};
    UniqueFd folder(fcntl(chain.start(), F_DUPFD_CLOEXEC, 0));
    for (const std::string& name : folder_paths.names(id)) {
      if (!folder) return folder;
      folder = open_beneath(folder.get(), name.c_str(), O_PATH | O_DIRECTORY);
    }
    if (!folder) return folder;
    linked_folder = id;
    linked_folder_fd = std::move(folder);
  }
  return UniqueFd(fcntl(linked_folder_fd.get(), F_DUPFD_CLOEXEC, 0));
}

FolderPaths::Id TargetTree::State::id_of_current() {
  std::size_t known = folders.size() - 1;
  while (!folders[known].id) --known;  // the root's is always known
  for (std::size_t i = known + 1; i < folders.size(); ++i) {
    const std::string name =
        path.substr(folders[i - 1].path_size + 1,
                    folders[i].path_size - folders[i - 1].path_size - 1);
    folders[i].id = folder_paths.add(*folders[i - 1].id, name);
  }
  return *folders.back().id;
}

void TargetTree::finish() {
  State& tree = *state_;
  if (std::exchange(tree.is_finished, true)) return;
  while (!tree.passed_over.empty() || tree.folders.size() > 1) leave();
  tree.folders.front().target->leave(tree.fd(), tree.path,
                                     tree.shared->shortfalls);
}

const std::vector<Shortfall>& TargetTree::shortfalls() const noexcept {
  return state_->shared->shortfalls.list();
}

std::string TargetTree::path_of(std::string_view name) const {
  return state_->path_of(name);
}

}  // namespace cairn::ingest
