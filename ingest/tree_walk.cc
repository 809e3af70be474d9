#include "ingest/tree_walk.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "ingest/file_error.h"
#include "ingest/unique_fd.h"
#include "repo/node.h"

namespace cairn::ingest {
namespace {

// FORMAT.md, section 12.
constexpr std::size_t kMaxComponents = 4096;
constexpr std::size_t kMaxPathBytes = 65'536;  // without the first slash

// At a name whose file is another each time.
constexpr int kMaxLooks = 4;
constexpr std::string_view kReplaced =
    "replaced by another file before it was read";
constexpr std::string_view kNoName =
    "a name that a snapshot may not hold (more than 255 bytes, or none)";

bool lies_in(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) &&
         path[folder.size()] == '/';
}

UniqueFd open_folder(int parent, const char* name, int flags) {
  constexpr int kFlags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  return UniqueFd(
      uninterrupted([&] { return openat(parent, name, flags | kFlags); }));
}

// Reading for a backup is no use of the folder; only its owner and root may
// ask for that.
UniqueFd open_to_list(int parent, const char* name) {
  UniqueFd fd = open_folder(parent, name, O_RDONLY | O_NOATIME);
  if (fd || errno != EPERM) return fd;
  return open_folder(parent, name, O_RDONLY);
}

// Names below it can be opened, also where it may not be listed.
UniqueFd open_to_pass(int parent, const char* name) {
  return open_folder(parent, name, O_PATH);
}

UniqueFd open_root() {
  UniqueFd root = open_to_pass(AT_FDCWD, "/");
  if (!root) throw_io_error("/", "open", errno);
  return root;
}

}  // namespace

bool precedes_in_tree(std::string_view a, std::string_view b) {
  const auto rank = [](char c) {
    return c == '/' ? 0 : static_cast<unsigned char>(c);  // no name has a NUL
  };
  return std::ranges::lexicographical_compare(a, b, {}, rank, rank);
}

class TreeWalk::Opener final : public FileVisitor::Opener {
 public:
  Opener(int folder, const char* name, const FileState& seen,
         std::string_view path, std::chrono::milliseconds& patience)
      : folder_(folder),
        name_(name),
        seen_(seen),
        path_(path),
        patience_(patience) {}

  OpenFile open() override {
    return OpenFile::open(folder_, name_, seen_, path_, patience_);
  }

 private:
  const int folder_;
  const char* const name_;
  const FileState& seen_;
  const std::string_view path_;
  std::chrono::milliseconds& patience_;
};

// What the system says of a name, asked for once and only when needed.
class TreeWalk::Look {
 public:
  Look(int folder, const char* name) : folder_(folder), name_(name) {}

  // 0 or an errno.
  int error() {
    if (!error_) {
      const int result = fstatat(folder_, name_, &status_, AT_SYMLINK_NOFOLLOW);
      error_ = result == 0 ? 0 : errno;
    }
    return *error_;
  }

  // Requires: error() is 0.
  const struct stat& status() const { return status_; }

 private:
  const int folder_;
  const char* const name_;
  struct stat status_ {};
  std::optional<int> error_;
};

TreeWalk::TreeWalk(std::span<const std::string> given,
                   const ExcludeRules& rules, const FileSourceOptions& options,
                   FileVisitor& visitor)
    : given_(given),
      rules_(rules),
      options_(options),
      visitor_(visitor),
      folders_(open_root(), O_PATH) {}

void TreeWalk::run(const std::stop_token& stop) {
  begin_at_root();
  while (!stop.stop_requested()) {
    Frame& frame = frames_.back();
    if (frame.next < frame.names.count()) {
      visit(frame, frame.next++);
      continue;
    }
    if (frames_.size() == 1) return;
    visitor_.folder_ends();
    leave();
  }
}

void TreeWalk::begin_at_root() {
  Frame frame;
  frame.given_below = given_;
  if (!given_.empty() && given_.front() == "/") {
    frame.given_below = given_.subspan(1);
    const UniqueFd root = open_to_list(folders_.fd(), "/");
    struct stat status;
    if (!root || fstat(root.get(), &status) != 0) {
      throw_io_error("/", "open", errno);
    }
    frame.base = {.path_size = 0, .device = status.st_dev};
    list(frame, root.get());
  }
  add_given(frame);
  frames_.push_back(std::move(frame));
}

// Recursion is bounded by kMaxLooks.
void TreeWalk::visit(const Frame& frame, std::size_t index, int looks) {
  const char* const name = frame.names.name(index);
  path_.resize(frame.path_size);
  path_.append("/").append(name);
  if (folders_.fd() < 0) return;  // lost, which leave() reported
  // A restore would refuse it.
  if (frames_.size() > kMaxComponents || path_.size() > kMaxPathBytes + 1) {
    return visitor_.unreadable(path_, "deeper than a snapshot may be");
  }

  auto given_below = given_in(frame);
  const bool is_given = !given_below.empty() && given_below.front() == path_;
  if (is_given) given_below = given_below.subspan(1);

  Look look(folders_.fd(), name);
  Scope scope = Scope::all;
  if (!is_given && !frame.base) scope = Scope::given_paths;
  if (!is_given && frame.base && is_left_out(frame, index, look)) {
    visitor_.excluded(path_);
    if (given_below.empty()) return;
    scope = Scope::given_paths;
  }
  // NTFS and the like have names of 255 UTF-16 units, FUSE longer ones. After
  // the rules, which can keep such a name from being reported each time.
  if (!repo::is_valid_name(name)) return visitor_.unreadable(path_, kNoName);
  if (const int error = look.error()) {
    if (error == ENOENT && !is_given && given_below.empty()) {
      return visitor_.vanished(path_);
    }
    return visitor_.unreadable(path_, words_of(error));
  }

  const struct stat& status = look.status();
  if (S_ISSOCK(status.st_mode)) return visitor_.socket_skipped(path_);
  const auto type = type_of(status.st_mode);
  if (!type) return visitor_.unreadable(path_, "of a type unknown here");
  if (*type == repo::EntryType::folder) {
    auto base = frame.base;
    if (is_given) base = {.path_size = path_.size(), .device = status.st_dev};
    return visit_folder(name, status, scope, base, given_below);
  }

  describe_entry(name, status);
  if (*type == repo::EntryType::file) {
    const FileState state = state_of(status);
    Opener opener(folders_.fd(), name, state, path_, patience_);
    try {
      return visitor_.file(entry_, state, path_, opener);
    } catch (const FileVanished& e) {
      return is_given ? visitor_.unreadable(path_, words_of(ENOENT))
                      : visitor_.vanished(path_);
    } catch (const FileReplaced& e) {
      if (looks == kMaxLooks) return visitor_.unreadable(path_, kReplaced);
    }
    return visit(frame, index, looks + 1);
  }
  if (*type == repo::EntryType::symlink) {
    const int error = read_symlink(folders_.fd(), name, entry_.symlink_target);
    if (error == ENOENT && !is_given) return visitor_.vanished(path_);
    if (error != 0) return visitor_.unreadable(path_, words_of(error));
    if (entry_.symlink_target.empty()) {
      return visitor_.unreadable(
          path_, "a symlink with an empty target, which no snapshot may hold");
    }
  }
  visitor_.other(entry_);
}

// By the type that the folder's list tells where it does, so that a rule keeps
// us from touching what cannot even be looked at, a dead mount for example.
bool TreeWalk::is_left_out(const Frame& frame, std::size_t index,
                           Look& look) const {
  const unsigned char type = frame.names.type(index);
  const bool is_folder =
      type == DT_UNKNOWN ? look.error() == 0 && S_ISDIR(look.status().st_mode)
                         : type == DT_DIR;
  return rules_.excludes(
      std::string_view(path_).substr(frame.base->path_size + 1),
      is_folder ? PathKind::folder : PathKind::other);
}

void TreeWalk::visit_folder(const char* name, const struct stat& seen,
                            Scope scope, const std::optional<Frame::Base>& base,
                            std::span<const std::string> given_below) {
  const bool is_elsewhere = scope == Scope::all &&
                            options_.file_systems == FileSystems::one &&
                            seen.st_dev != base->device;
  const bool is_left_out =
      std::ranges::find(options_.left_out,
                        FolderIdentity{seen.st_dev, seen.st_ino}) !=
      options_.left_out.end();
  if (is_elsewhere || is_left_out) {
    is_left_out ? visitor_.left_out(path_) : visitor_.excluded(path_);
    scope = Scope::given_paths;
  }
  UniqueFd folder;
  int not_listed = 0;
  if (scope == Scope::all) {
    folder = open_to_list(folders_.fd(), name);
    if (!folder) not_listed = errno;
  }
  if (!folder) folder = open_to_pass(folders_.fd(), name);
  struct stat status;
  if (!folder || fstat(folder.get(), &status) != 0) {
    const bool is_given = base && base->path_size == path_.size();
    if (errno == ENOENT && !is_given && given_below.empty()) {
      return visitor_.vanished(path_);
    }
    return visitor_.unreadable(path_, words_of(errno));
  }
  if (status.st_dev != seen.st_dev || status.st_ino != seen.st_ino) {
    return visitor_.unreadable(path_,
                               "replaced by another folder before it was read");
  }
  describe_entry(name, status);

  Frame frame;
  frame.path_size = path_.size();
  frame.given_below = given_below;
  if (not_listed != 0) {
    visitor_.unreadable(path_, words_of(not_listed));
  } else if (scope == Scope::all) {
    frame.base = base;
    list(frame, folder.get());
  }
  add_given(frame);

  visitor_.folder_begins(entry_);
  if (frame.names.count() == 0) return visitor_.folder_ends();
  folders_.push(std::move(folder), name);
  frames_.push_back(std::move(frame));
}

void TreeWalk::leave() {
  frames_.pop_back();
  folders_.pop();
  const Frame& frame = frames_.back();
  if (folders_.fd() >= 0 || frame.next == frame.names.count()) return;
  path_.resize(frame.path_size);
  visitor_.unreadable(path_, "moved while it was being read");
}

// The names in the folder that path_ names, or none if it holds a mark.
void TreeWalk::list(Frame& frame, int folder) {
  std::string_view path = path_;
  if (path.empty()) path = "/";
  const int error = frame.names.read(folder);
  if (error != 0) visitor_.unreadable(path, words_of(error));
  frame.names.sort();
  for (const std::string& mark : options_.exclude_if_present) {
    if (!frame.names.has(mark)) continue;
    visitor_.excluded(path);
    frame.names = {};
    frame.base.reset();
    return;
  }
}

// Names of given paths that the list of the folder does not hold: because it
// was not read, or because one vanished, which is then reported.
void TreeWalk::add_given(Frame& frame) const {
  std::vector<std::string_view> missing;
  for (const std::string& path : frame.given_below) {
    auto name = std::string_view(path).substr(frame.path_size + 1);
    name = name.substr(0, name.find('/'));
    if (!missing.empty() && missing.back() == name) continue;
    if (!frame.names.has(name)) missing.push_back(name);
  }
  for (const std::string_view name : missing) {
    frame.names.add(name, DT_UNKNOWN);
  }
  if (!missing.empty()) frame.names.sort();
}

// The given paths that are, or lie below, path_.
std::span<const std::string> TreeWalk::given_in(const Frame& frame) const {
  const auto first =
      std::ranges::lower_bound(frame.given_below, path_, precedes_in_tree);
  const auto last = std::find_if_not(
      first, frame.given_below.end(), [&](const std::string& path) {
        return path == path_ || lies_in(path, path_);
      });
  return {first, last};
}

void TreeWalk::describe_entry(const char* name, const struct stat& status) {
  entry_.name = name;
  set_from_status(entry_, status, owners_);
  const int error = xattrs_.read(folders_.fd(), name, entry_.xattrs);
  if (error == 0) return;
  visitor_.unreadable(
      path_, error == E2BIG ? "xattrs: more than can be saved; some are not"
                            : "xattrs: " + words_of(error));
}

}  // namespace cairn::ingest
