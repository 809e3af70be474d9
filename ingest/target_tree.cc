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
#include "ingest/placement.h"
#include "ingest/target_file_state.h"

namespace cairn::ingest {
namespace {

void check_name(const std::string& name) {
  const bool may_occur = !name.empty() && name != "." && name != ".." &&
                         name.find('/') == std::string::npos &&
                         name.find('\0') == std::string::npos;
  if (!may_occur) {
    throw repo::CorruptionError("a snapshot's entry is named '" + name + "'");
  }
}

// Opens the root, made if need be.
struct Root {
  UniqueFd fd;
  bool was_there = false;
};

UniqueFd open_folder(const std::filesystem::path& path) {
  return UniqueFd(uninterrupted([&] {
    return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
  }));
}

// After open_folder() had no success.
[[noreturn]] void fail_to_open(const std::filesystem::path& path) {
  if (errno == ENOTDIR) {
    throw repo::RefusedForSafety(path.native() + ": not a folder");
  }
  throw_io_error(path.native(), "open", errno);
}

void refuse_what_is_in_it(int folder, const std::filesystem::path& path) {
  FolderNames names;
  const int refused = names.read(folder);
  if (refused != 0) throw_io_error(path.native(), "list", refused);
  if (names.count() > 0) {
    throw repo::RefusedForSafety(
        path.native() +
        ": not empty; --overwrite never, if-changed or always says what "
        "becomes of the files in it");
  }
}

Root open_root(const std::filesystem::path& path, Overwrite overwrite) {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
  }
  if (error) throw_io_error(path.native(), "create", error.value());
  const bool is_new = mkdir(path.c_str(), 0700) == 0;
  if (!is_new && errno != EEXIST && errno != EISDIR) {
    throw_io_error(path.native(), "create", errno);
  }
  UniqueFd fd = open_folder(path);
  if (!fd) fail_to_open(path);
  if (overwrite == Overwrite::refuse) refuse_what_is_in_it(fd.get(), path);
  if (!is_new) sweep_temporary_files(fd.get());
  return {std::move(fd), !is_new};
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
      assert(false && "a symlink, fifo or device");
      return 0;
  }
}

// 0 or an errno.
int make_other(int folder, const char* name, const repo::Entry& entry) {
  constexpr mode_t kPrivate = 0600;
  int result = 0;
  if (entry.type == repo::EntryType::symlink) {
    result = symlinkat(entry.symlink_target.c_str(), folder, name);
  } else {
    dev_t number = 0;
    if (entry.device) {
      number = makedev(entry.device->major, entry.device->minor);
    }
    result = mknodat(folder, name, type_bits(entry.type) | kPrivate, number);
  }
  return result == 0 ? 0 : errno;
}

bool is_that_file(int folder, const char* name, const LinkedPlace& place) {
  struct stat status;
  return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         status.st_dev == place.device && status.st_ino == place.inode;
}

// 0 or an errno.
int make_link(int from, const LinkedPlace& place, int folder,
              const char* name) {
  if (linkat(from, place.name.c_str(), folder, name, 0) != 0) {
    if (errno != EEXIST) return errno;
    return is_that_file(folder, name, place) ? 0 : EEXIST;
  }
  if (is_that_file(folder, name, place)) return 0;
  unlinkat(folder, name, 0);
  return ENOENT;
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

  State(Root root, std::string root_path, Overwrite mode)
      : overwrite(mode),
        root_was_there(root.was_there),
        path(std::move(root_path)),
        shared(std::make_shared<TargetShared>()),
        chain(std::move(root.fd), O_RDONLY) {
    folders.push_back({.target = std::make_shared<TargetFolder>(std::nullopt),
                       .path_size = path.size(),
                       .id = FolderPaths::kRoot});
  }

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

  Spot spot_of(const repo::Entry& entry) {
    return {.folder = fd(),
            .entry = entry,
            .path = path_of(entry.name),
            .overwrite = overwrite,
            .unnamed_files = unnamed_files};
  }

  std::unique_ptr<TargetFile::State> begin(const repo::Entry& entry,
                                           std::span<const repo::Link> rows,
                                           PlacedFile placed);
  LinkedPlace finish_other(const char* name, const repo::Entry& entry);
  UniqueFd open_linked_folder(FolderPaths::Id id);
  FolderPaths::Id id_of_current();

  const Overwrite overwrite;
  const bool root_was_there;
  std::optional<UnnamedFiles> unnamed_files;  // once it was tried
  bool has_begun = false;
  bool is_finished = false;

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

void require_target(const std::filesystem::path& root, Overwrite overwrite) {
  const UniqueFd fd = open_folder(root);
  if (!fd && errno == ENOENT) return;
  if (!fd) fail_to_open(root);
  if (overwrite == Overwrite::refuse) refuse_what_is_in_it(fd.get(), root);
}

TargetTree::TargetTree(const std::filesystem::path& root, Overwrite overwrite) {
  std::string path = root.native();
  const bool is_absolute = path.starts_with('/');
  while (path.ends_with('/')) path.pop_back();
  // Slashes alone are "/"; nothing at all names no folder.
  state_ = std::make_unique<State>(
      open_root(path.empty() && is_absolute ? "/" : path, overwrite), path,
      overwrite);
}

TargetTree::~TargetTree() = default;

Entered TargetTree::enter(const repo::Entry& entry) {
  State& tree = *state_;
  assert(entry.type == repo::EntryType::folder);
  if (entry.name.empty() && !std::exchange(tree.has_begun, true)) {
    if (tree.overwrite != Overwrite::never || !tree.root_was_there) {
      tree.folders.front().target = std::make_shared<TargetFolder>(entry);
    }
    return Entered::yes;
  }
  check_name(entry.name);
  tree.has_begun = true;
  std::optional<PlacedFolder> folder;
  if (tree.passed_over.empty()) folder = place_folder(tree.spot_of(entry));
  const std::size_t outer = tree.path.size();
  tree.path.append("/").append(entry.name);
  if (!folder) {
    tree.passed_over.push_back(outer);
    return Entered::passed_over;
  }
  if (!folder->is_new) sweep_temporary_files(folder->fd.get());
  std::optional<repo::Entry> metadata;
  if (folder->is_new || tree.overwrite != Overwrite::never) metadata = entry;
  tree.folders.push_back(
      {.target = std::make_shared<TargetFolder>(std::move(metadata)),
       .path_size = tree.path.size(),
       .id = std::nullopt});
  tree.chain.push(std::move(folder->fd), entry.name);
  return Entered::yes;
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

std::optional<TargetFile> TargetTree::create_file(
    const repo::Entry& entry, std::span<const repo::Link> rows) {
  State& tree = *state_;
  assert(repo::has_content(entry.type));
  check_name(entry.name);
  tree.has_begun = true;
  if (!tree.passed_over.empty()) return std::nullopt;

  auto placed = place_file(tree.spot_of(entry));
  if (!placed) return std::nullopt;
  return TargetFile(tree.begin(entry, rows, *std::move(placed)));
}

std::optional<TargetFile> TargetTree::find_linked(
    const repo::Entry& entry, std::span<const repo::Link> rows) {
  State& tree = *state_;
  check_name(entry.name);
  if (tree.overwrite != Overwrite::if_changed || !entry.hard_link ||
      !tree.passed_over.empty()) {
    return std::nullopt;
  }
  auto found = find_linked_file(tree.spot_of(entry));
  if (!found) return std::nullopt;
  struct stat status;
  if (fstat(found->fd.get(), &status) != 0 ||
      tree.shared->linked.is_kept(status.st_dev, status.st_ino)) {
    return std::nullopt;
  }
  return TargetFile(tree.begin(entry, rows, *std::move(found)));
}

std::unique_ptr<TargetFile::State> TargetTree::State::begin(
    const repo::Entry& entry, std::span<const repo::Link> rows,
    PlacedFile placed) {
  auto file = std::make_unique<TargetFile::State>();
  file->shared = shared;
  file->folder = folders.back().target;
  file->folder_fd = chain.share();
  file->entry = entry;
  file->path = path_of(entry.name);
  file->begin(std::move(placed));
  if (entry.hard_link) {
    const repo::LinkedFileId id = repo::linked_file_id(entry, rows);
    if (shared->linked.begin(id)) {
      file->linked = {.id = id, .folder = id_of_current()};
    }
  }
  return file;
}

bool TargetTree::create_other(const repo::Entry& entry) {
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
  if (!tree.passed_over.empty()) return false;

  std::optional<LinkedPlace> made;
  const Spot spot = tree.spot_of(entry);
  const int error = place_by(spot, [&](const char* name) {
    const int refused = make_other(spot.folder, name, entry);
    if (refused == 0) made = tree.finish_other(name, entry);
    return refused;
  });
  if (error == EPERM && is_device) {
    throw repo::IoError(spot.path + ": create: " + words_of(error) +
                        ": making a device takes root");
  }
  if (error != 0) throw_io_error(spot.path, "create", error);
  if (!made) return false;
  if (!entry.hard_link) return true;
  const repo::LinkedFileId id = repo::linked_file_id(entry, {});
  if (tree.shared->linked.begin(id)) {
    made->folder = tree.id_of_current();
    tree.shared->linked.finish(id, *std::move(made));
  }
  return true;
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

Linked TargetTree::link(const repo::Entry& entry,
                        std::span<const repo::Link> rows) {
  State& tree = *state_;
  check_name(entry.name);
  assert(entry.hard_link);
  tree.has_begun = true;
  if (!tree.passed_over.empty()) return Linked::done;

  const auto known =
      tree.shared->linked.find(repo::linked_file_id(entry, rows));
  if (!known.is_known) return Linked::unknown;
  if (!known.place) return Linked::unfinished;
  const Spot spot = tree.spot_of(entry);
  const UniqueFd from = tree.open_linked_folder(known.place->folder);
  int error = errno;
  if (from) {
    error = place_by(spot, [&](const char* name) {
      return make_link(from.get(), *known.place, spot.folder, name);
    });
  }
  if (error == 0) return Linked::done;
  // Too many links, a file system without them, the earlier one moved away.
  tree.shared->shortfalls.add("hard link", error, spot.path);
  return Linked::unknown;
}

// Nothing, with errno, where the way there no longer leads through folders.
UniqueFd TargetTree::State::open_linked_folder(FolderPaths::Id id) {
  const auto again = [](int fd) {
    return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  };
  if (folders.back().id == id) return again(fd());
  if (!linked_folder_fd || linked_folder != id) {
    linked_folder_fd = {};
    UniqueFd folder = again(chain.start());
    for (const std::string& name : folder_paths.names(id)) {
      if (!folder) return folder;
      folder = open_beneath(folder.get(), name.c_str(), O_PATH | O_DIRECTORY);
    }
    if (!folder) return folder;
    linked_folder = id;
    linked_folder_fd = std::move(folder);
  }
  return again(linked_folder_fd.get());
}

FolderPaths::Id TargetTree::State::id_of_current() {
  std::size_t known = folders.size() - 1;
  while (!folders[known].id) --known;  // the root's is always known
  for (std::size_t i = known + 1; i < folders.size(); ++i) {
    const std::size_t begin = folders[i - 1].path_size + 1;
    folders[i].id = folder_paths.add(
        *folders[i - 1].id, path.substr(begin, folders[i].path_size - begin));
  }
  return *folders.back().id;
}

void TargetTree::finish() {
  State& tree = *state_;
  if (std::exchange(tree.is_finished, true)) return;
  while (!tree.passed_over.empty() || tree.folders.size() > 1) leave();
  tree.folders.front().target->leave(tree.fd(), tree.path,
                                     tree.shared->shortfalls);
  if (syncfs(tree.fd()) != 0) throw_io_error(tree.path, "sync", errno);
}

const std::vector<Shortfall>& TargetTree::shortfalls() const noexcept {
  return state_->shared->shortfalls.list();
}

std::string TargetTree::path_of(std::string_view name) const {
  return state_->path_of(name);
}

}  // namespace cairn::ingest
