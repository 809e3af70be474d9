#include "ingest/file_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include "ingest/file_error.h"
#include "ingest/file_metadata.h"
#include "ingest/folder_chain.h"
#include "ingest/folder_names.h"
#include "ingest/unique_fd.h"
#include "ingest/xattrs.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kReplaced =
    "replaced by another entry while it was being read";

// The slash before all other bytes, so that what lies in a folder follows the
// folder itself: "/a", "/a/b", "/a-b".
bool precedes_in_tree(std::string_view a, std::string_view b) {
  const auto rank = [](char c) {
    return c == '/' ? 0 : static_cast<unsigned char>(c);  // no name has a NUL
  };
  return std::ranges::lexicographical_compare(a, b, {}, rank, rank);
}

bool lies_in(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) &&
         path[folder.size()] == '/';
}

// Absolute, without ".", ".." and repeated slashes. The parents' symlinks are
// resolved, since the walk goes through none.
std::string absolute(const std::string& given) {
  namespace fs = std::filesystem;
  if (given.empty()) throw repo::NotFound("a path is empty");
  const fs::path path(given);
  const fs::path last = path.filename();
  std::error_code error;
  fs::path result;
  if (last.empty() || last == "." || last == "..") {
    result = fs::canonical(path, error);
  } else {
    const fs::path parent = path.parent_path();
    result = fs::canonical(parent.empty() ? "." : parent, error) / last;
  }
  struct stat status;
  if (!error && lstat(result.c_str(), &status) != 0) {
    error.assign(errno, std::generic_category());
  }
  if (!error) return result.native();
  if (error == std::errc::no_such_file_or_directory ||
      error == std::errc::not_a_directory) {
    throw repo::NotFound(given + ": no such file or folder");
  }
  throw_io_error(given, "stat", error.value());
}

// One open folder of the walk.
struct Frame {
  FolderNames names;
  std::size_t next = 0;
  std::size_t path_size = 0;  // of its path, in the walk's

  // The given path it belongs to: rules are relative to it. Nothing: a parent
  // of given paths, or a folder left out that holds some.
  struct Base {
    std::size_t path_size = 0;
    dev_t device = 0;
  };
  std::optional<Base> base;

  std::span<const std::string> given_below;
};

UniqueFd open_folder(int parent, const char* name, int flags) {
  constexpr int kFlags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  return UniqueFd(
      uninterrupted([&] { return openat(parent, name, flags | kFlags); }));
}

UniqueFd open_for_listing(int parent, const char* name) {
  UniqueFd fd = open_folder(parent, name, O_RDONLY | O_NOATIME);
  if (fd || errno != EPERM) return fd;
  return open_folder(parent, name, O_RDONLY);
}

}  // namespace

bool is_settled(const FileState& state,
                const repo::Timestamp& read_began) noexcept {
  // A stamp of whole seconds may come from a file system that knows no finer
  // ones: two seconds on FAT, one on ext3. All others round to 10 ms (the
  // kernel's slowest tick, and FAT's ctime) or less.
  constexpr std::int64_t kCoarseSeconds = 2;
  constexpr std::uint32_t kFineNanoseconds = 10'000'000;
  constexpr std::uint32_t kSecond = 1'000'000'000;
  repo::Timestamp coarse = read_began;
  coarse.seconds -= kCoarseSeconds;
  repo::Timestamp fine = read_began;
  if (fine.nanoseconds < kFineNanoseconds) {
    --fine.seconds;
    fine.nanoseconds += kSecond;
  }
  fine.nanoseconds -= kFineNanoseconds;

  const auto lies_before = [&](const repo::Timestamp& stamp) {
    return stamp < (stamp.nanoseconds == 0 ? coarse : fine);
  };
  return lies_before(state.modified) && lies_before(state.changed);
}

repo::Timestamp file_clock_now() {
  timespec now;
  if (clock_gettime(CLOCK_REALTIME_COARSE, &now) != 0) {
    throw_io_error("clock", "read", errno);
  }
  return timestamp_of(now);
}

struct FileSource::State {
  State(std::span<const std::string> given, FileSourceOptions chosen)
      : options(std::move(chosen)), rules(options.exclude_rules) {
    for (const std::string& path : given) paths.push_back(absolute(path));
    std::ranges::sort(paths);
    paths.erase(std::ranges::unique(paths).begin(), paths.end());
    in_tree_order = paths;
    std::ranges::sort(in_tree_order, precedes_in_tree);
  }

  class Walk;

  FileSourceOptions options;
  ExcludeRules rules;
  std::vector<std::string> paths;
  std::vector<std::string> in_tree_order;
  OwnerNames owners;
  XattrReader xattrs;
};

// One walk. It keeps a stack of its own, so that a deep tree costs memory and
// no stack.
class FileSource::State::Walk {
 public:
  Walk(State& source, FileVisitor& visitor)
      : source_(source), visitor_(visitor), folders_(open_root(), O_PATH) {}

  void run(std::stop_token stop) {
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

 private:
  class FileOpener final : public FileVisitor::Opener {
   public:
    FileOpener(int folder, const char* name, const FileState& seen,
               std::string_view path)
        : folder_(folder), name_(name), seen_(seen), path_(path) {}
    OpenFile open() override {
      return OpenFile::open(folder_, name_, seen_, path_);
    }

   private:
    int folder_;
    const char* name_;
    const FileState& seen_;
    std::string_view path_;
  };

  // What of a folder's entries is visited: all, or only the way to paths that
  // were given by themselves.
  enum class Scope { all, given_paths };

  static UniqueFd open_root() {
    UniqueFd root = open_folder(AT_FDCWD, "/", O_PATH);
    if (!root) throw_io_error("/", "open", errno);
    return root;
  }

  void begin_at_root() {
    std::span<const std::string> given = source_.in_tree_order;
    Frame frame;
    if (!given.empty() && given.front() == "/") {
      given = given.subspan(1);
      struct stat status;
      if (fstat(folders_.fd(), &status) != 0) {
        throw_io_error("/", "stat", errno);
      }
      frame.base = {.path_size = 0, .device = status.st_dev};
    }
    frame.given_below = given;
    if (frame.base) {
      list(frame, open_for_listing(folders_.fd(), "/"));
    }
    add_given(frame);
    frames_.push_back(std::move(frame));
  }

  void visit(const Frame& frame, std::size_t index) {
    const char* const name = frame.names.name(index);
    path_.resize(frame.path_size);
    path_.append("/").append(name);
    if (folders_.fd() < 0) return;  // lost, as was reported

    const auto below = given_in(frame);
    const bool is_given = !below.empty() && below.front() == path_;
    const auto given_below = is_given ? below.subspan(1) : below;

    struct stat status;
    int error = -1;  // not asked yet
    const auto look = [&] {
      if (error < 0) {
        const int result =
            fstatat(folders_.fd(), name, &status, AT_SYMLINK_NOFOLLOW);
        error = result == 0 ? 0 : errno;
      }
      return error == 0;
    };

    Scope scope = is_given || frame.base ? Scope::all : Scope::given_paths;
    if (frame.base && !is_given) {
      // By the type that the folder's list tells, so that a rule keeps us from
      // touching what cannot even be looked at, a dead mount for example.
      unsigned char type = frame.names.type(index);
      if (type == DT_UNKNOWN && look() && S_ISDIR(status.st_mode)) {
        type = DT_DIR;
      }
      const auto kind = type == DT_DIR ? PathKind::folder : PathKind::other;
      const auto relative =
          std::string_view(path_).substr(frame.base->path_size + 1);
      if (source_.rules.excludes(relative, kind)) {
        visitor_.excluded(path_);
        if (given_below.empty()) return;
        scope = Scope::given_paths;
      }
    }
    if (!look()) return visitor_.unreadable(path_, words_of(error));

    if (S_ISSOCK(status.st_mode)) return visitor_.socket_skipped(path_);
    const auto type = type_of(status.st_mode);
    if (!type) return visitor_.unreadable(path_, "of a type unknown here");

    if (*type == repo::EntryType::folder) {
      auto base = frame.base;
      if (is_given) {
        base = {.path_size = path_.size(), .device = status.st_dev};
      }
      visit_folder(name, status, scope, base, given_below);
      return;
    }
    describe_entry(name, status);
    if (*type == repo::EntryType::file) {
      const FileState state = state_of(status);
      FileOpener opener(folders_.fd(), name, state, path_);
      visitor_.file(entry_, state, path_, opener);
      return;
    }
    if (*type == repo::EntryType::symlink) {
      const int refused =
          read_symlink(folders_.fd(), name, entry_.symlink_target);
      if (refused != 0) return visitor_.unreadable(path_, words_of(refused));
    }
    visitor_.other(entry_);
  }

  void visit_folder(const char* name, const struct stat& status, Scope scope,
                    const std::optional<Frame::Base>& base,
                    std::span<const std::string> given_below) {
    if (scope == Scope::all &&
        source_.options.file_systems == FileSystems::one &&
        status.st_dev != base->device) {
      visitor_.excluded(path_);
      scope = Scope::given_paths;
    }
    UniqueFd folder = scope == Scope::all
                          ? open_for_listing(folders_.fd(), name)
                          : open_folder(folders_.fd(), name, O_PATH);
    int error = folder ? 0 : errno;
    if (!folder && scope == Scope::all) {
      // Its metadata, and the way to what was given below it, need no list.
      folder = open_folder(folders_.fd(), name, O_PATH);
      scope = Scope::given_paths;
    }
    struct stat opened;
    if (!folder || fstat(folder.get(), &opened) != 0) {
      return visitor_.unreadable(path_, words_of(errno));
    }
    if (opened.st_dev != status.st_dev || opened.st_ino != status.st_ino) {
      return visitor_.unreadable(path_, kReplaced);
    }
    describe_entry(name, opened);
    if (error != 0) visitor_.unreadable(path_, words_of(error));

    Frame frame;
    frame.path_size = path_.size();
    frame.given_below = given_below;
    if (scope == Scope::all) {
      frame.base = base;
      error = frame.names.read(folder.get());
      if (error != 0) visitor_.unreadable(path_, words_of(error));
      frame.names.sort();
      if (holds_a_mark(frame.names)) {
        visitor_.excluded(path_);
        frame.names = {};
        frame.base.reset();
      }
    }
    add_given(frame);

    visitor_.folder_begins(entry_);
    if (frame.names.count() == 0) {
      visitor_.folder_ends();
      return;
    }
    folders_.push(std::move(folder), name);
    frames_.push_back(std::move(frame));
  }

  void leave() {
    frames_.pop_back();
    folders_.pop();
    const Frame& frame = frames_.back();
    if (folders_.fd() >= 0 || frame.next == frame.names.count()) return;
    path_.resize(frame.path_size);
    visitor_.unreadable(path_, "moved while it was being read");
  }

  void describe_entry(const char* name, const struct stat& status) {
    entry_.name = name;
    set_from_status(entry_, status, source_.owners);
    const int error = source_.xattrs.read(folders_.fd(), name, entry_.xattrs);
    if (error != 0) {
      visitor_.unreadable(path_, "xattrs: " + words_of(error));
    }
  }

  void list(Frame& frame, UniqueFd folder) {
    const int error = folder ? frame.names.read(folder.get()) : errno;
    if (error != 0) visitor_.unreadable("/", words_of(error));
    frame.names.sort();
    if (!holds_a_mark(frame.names)) return;
    visitor_.excluded("/");
    frame.names = {};
    frame.base.reset();
  }

  bool holds_a_mark(const FolderNames& names) const {
    return std::ranges::any_of(
        source_.options.exclude_if_present,
        [&](const std::string& mark) { return names.has(mark); });
  }

  // The given paths that are, or lie below, path_.
  std::span<const std::string> given_in(const Frame& frame) const {
    const auto within = [&](const std::string& path) {
      return path == path_ || lies_in(path, path_);
    };
    const auto first =
        std::ranges::lower_bound(frame.given_below, path_, precedes_in_tree);
    const auto last = std::find_if_not(first, frame.given_below.end(), within);
    return {first, last};
  }

  // Names of given paths that the list of the folder does not hold: because it
  // was not read, or because one vanished, which is then reported.
  void add_given(Frame& frame) const {
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

  State& source_;
  FileVisitor& visitor_;
  FolderChain folders_;
  std::vector<Frame> frames_;  // never empty; frames_[0] is "/"
  std::string path_;           // of the entry being visited; "/" is ""
  repo::Entry entry_;          // likewise, kept for its buffers
};

FileSource::FileSource(std::span<const std::string> paths,
                       FileSourceOptions options)
    : state_(std::make_unique<State>(paths, std::move(options))) {}

FileSource::~FileSource() = default;

void FileSource::walk(FileVisitor& visitor, std::stop_token stop) {
  State::Walk(*state_, visitor).run(std::move(stop));
}

const std::vector<std::string>& FileSource::paths() const noexcept {
  return state_->paths;
}

repo::Entry describe(const std::filesystem::path& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    throw_io_error(path.native(), "stat", errno);
  }
  const auto type = type_of(status.st_mode);
  if (!type) throw repo::IoError(path.native() + ": a socket");

  repo::Entry entry;
  entry.name = path.filename();
  OwnerNames owners;
  set_from_status(entry, status, owners);
  int error = XattrReader().read(AT_FDCWD, path.c_str(), entry.xattrs);
  if (error != 0) throw_io_error(path.native(), "xattrs", error);
  if (*type == repo::EntryType::symlink) {
    error = read_symlink(AT_FDCWD, path.c_str(), entry.symlink_target);
    if (error != 0) throw_io_error(path.native(), "readlink", error);
  }
  if (*type == repo::EntryType::file) {
    const UniqueFd fd(
        open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) throw_io_error(path.native(), "open", errno);
    entry.holes = holes_of(fd.get(), status);
  }
  return entry;
}

}  // namespace cairn::ingest
