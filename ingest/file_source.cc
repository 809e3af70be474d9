#include "ingest/file_source.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "ingest/file_error.h"
#include "ingest/file_metadata.h"
#include "ingest/tree_walk.h"
#include "ingest/unique_fd.h"
#include "ingest/xattrs.h"

namespace cairn::ingest {

std::string stored_path(const std::string& given) {
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

bool is_settled(const FileState& state, const repo::Timestamp& read_began,
                std::chrono::seconds settling) noexcept {
  // A stamp of whole seconds may come from a file system that knows no finer
  // ones: two seconds on FAT, one on ext3. All others round to 10 ms (the
  // kernel's slowest tick, and FAT's ctime) or less.
  constexpr std::int64_t kCoarseSeconds = 2;
  constexpr std::uint32_t kFineNanoseconds = 10'000'000;
  constexpr std::uint32_t kSecond = 1'000'000'000;
  repo::Timestamp coarse = read_began;
  coarse.seconds -= kCoarseSeconds + settling.count();
  repo::Timestamp fine = read_began;
  if (fine.nanoseconds < kFineNanoseconds) {
    --fine.seconds;
    fine.nanoseconds += kSecond;
  }
  fine.nanoseconds -= kFineNanoseconds;
  fine.seconds -= settling.count();

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
    for (const std::string& path : given) paths.push_back(stored_path(path));
    std::ranges::sort(paths);
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
    in_tree_order = paths;
    std::ranges::sort(in_tree_order, precedes_in_tree);
  }

  FileSourceOptions options;
  ExcludeRules rules;
  std::vector<std::string> paths;
  std::vector<std::string> in_tree_order;
};

FileSource::FileSource(std::span<const std::string> paths,
                       FileSourceOptions options)
    : state_(std::make_unique<State>(paths, std::move(options))) {}

FileSource::~FileSource() = default;

void FileVisitor::vanished(std::string_view path) {
  unreadable(path, words_of(ENOENT));
}

void FileSource::walk(FileVisitor& visitor, std::stop_token stop) {
  const State& source = *state_;
  TreeWalk(source.in_tree_order, source.rules, source.options, visitor)
      .run(stop);
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
