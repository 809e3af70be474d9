// A tree of files as a source: what is there, in an order that depends only on
// the names, with everything that is needed to make it again.
//
//   FileSource walk --> folder_begins, file, ..., folder_ends --> the pipeline
//
// The walk opens folders by descriptor and never follows a symlink, so that a
// tree that changes under it cannot lead it elsewhere. What cannot be read is
// reported to the visitor, and the walk goes on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/exclude_rules.h"
#include "repo/entry.h"
#include "repo/error.h"

namespace cairn::ingest {

// What tells an unchanged file from a changed one without reading it.
struct FileState {
  std::uint64_t size = 0;
  repo::Timestamp modified;
  repo::Timestamp changed;  // ctime: no program can set it back
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const FileState&) const = default;
};

// A state proves "unchanged" only when it was taken later than the clock tick
// of its last change: a file written twice within one tick looks the same. So a
// state may be remembered only if both its times lie before `read_began`, by
// file_clock_now() before the file was opened, less the coarsest tick that the
// file system may round its stamps to, and less `settling`.
//
// Writes through a mapping need that: the kernel stamps the file at the first
// write to a page and not again before it has written the page back, which it
// does within 35 seconds by default (vm.dirty_expire_centisecs and
// dirty_writeback_centisecs). A file whose stamps are older has no such page,
// and its next change will be stamped.
//
// What no stamp can show: a clock that was set back, a server with a clock of
// its own that lags behind, a mapping on a file system that writes nothing back
// (tmpfs) or on a disk that falls behind by more than `settling`.
[[nodiscard]] bool is_settled(
    const FileState& state, const repo::Timestamp& read_began,
    std::chrono::seconds settling = std::chrono::seconds(0)) noexcept;

// The clock that stamps files (CLOCK_REALTIME_COARSE).
[[nodiscard]] repo::Timestamp file_clock_now();

enum class FileSystems { any, one };

struct FolderIdentity {
  dev_t device = 0;
  ino_t inode = 0;

  bool operator==(const FolderIdentity&) const = default;
};

struct FileSourceOptions {
  std::vector<std::string> exclude_rules = {};
  // Leaves out what lies in a folder that holds an entry of one of these names;
  // the folder itself stays, empty.
  std::vector<std::string> exclude_if_present = {};
  // one: only the file system that each given path lies on; a folder on which
  // another is mounted stays, empty.
  FileSystems file_systems = FileSystems::any;
  // Folders whose entries are left out wherever the walk meets them: the
  // repository itself, which would grow while it is read.
  std::vector<FolderIdentity> left_out = {};
  // How old the times of a file must be for them to be trusted, see
  // is_settled().
  std::chrono::seconds settling{0};
};

// An open regular file whose data is read without its holes.
//
// Threads        one thread at a time.
class OpenFile {
 public:
  OpenFile(OpenFile&&) noexcept;
  OpenFile& operator=(OpenFile&&) noexcept;
  ~OpenFile();

  // The next bytes of data, skipping holes, in file order; 0 at the end. Less
  // than out.size() only at the end. The end is where it was when the file was
  // opened, so that a file that grows cannot keep a backup from ending; one
  // that shrank ends early. state_now() then tells. Throws repo::IoError.
  [[nodiscard]] std::size_t read(std::span<std::byte> out);

  // Ascending; found by SEEK_DATA and SEEK_HOLE when the file was opened, and
  // only for files with fewer blocks than their size needs.
  [[nodiscard]] const std::vector<repo::Extent>& holes() const noexcept;

  // As the system sees the file now, by its descriptor. Equal to the state that
  // the walk gave only if the file was not touched in between.
  [[nodiscard]] FileState state_now() const;

  // For telling a page file from others: up to out.size() bytes from `offset`,
  // without moving the read position.
  [[nodiscard]] std::size_t peek(std::uint64_t offset,
                                 std::span<std::byte> out) const;

 private:
  friend class TreeWalk;
  struct State;
  explicit OpenFile(std::unique_ptr<State> state);

  // Throws repo::IoError; FileVanished, FileReplaced when `name` is no longer
  // the regular file `seen`. Waits for who holds a lease on it, which is taken
  // off `patience`.
  static OpenFile open(int folder, const char* name, const FileState& seen,
                       std::string_view path,
                       std::chrono::milliseconds& patience);

  std::unique_ptr<State> state_;
};

// Both of a file that was as seen a moment ago.
struct FileVanished : repo::IoError {
  using repo::IoError::IoError;
};
struct FileReplaced : repo::IoError {  // there is another of that name
  using repo::IoError::IoError;
};

// What the walk meets, in order. Entries of a folder come sorted by the bytes
// of their names; a folder's own metadata was read before its entries.
class FileVisitor {
 public:
  virtual ~FileVisitor() = default;

  virtual void folder_begins(const repo::Entry& folder) = 0;
  virtual void folder_ends() = 0;

  // A regular file, not yet opened. `path` is absolute; `open` may be called
  // once, before this returns, and throws repo::IoError when it may not be
  // read. entry.holes is empty until then. FileVanished and FileReplaced may be
  // let through: the first is told by vanished() then, after the second the
  // name is looked at again.
  class Opener {
   public:
    virtual ~Opener() = default;
    [[nodiscard]] virtual OpenFile open() = 0;
  };
  virtual void file(const repo::Entry& entry, const FileState& state,
                    std::string_view path, Opener& opener) = 0;

  // Anything else that is stored: symlink, fifo, device.
  virtual void other(const repo::Entry& entry) = 0;

  // Sockets, which only their program can make: counted, not stored.
  virtual void socket_skipped(std::string_view path) = 0;

  // Left out by a rule; or a folder that is stored empty because of
  // exclude_if_present or FileSystems::one.
  virtual void excluded(std::string_view path) = 0;

  // One of FileSourceOptions::left_out.
  virtual void left_out(std::string_view path) { excluded(path); }

  // Listed, and gone when it was looked at; not a given path, nor above one.
  virtual void vanished(std::string_view path);

  // An entry that could not be read: no permission, a failing disk.
  // It may come with what could be read all the same: a folder without its
  // entries, a file without its xattrs.
  virtual void unreadable(std::string_view path, std::string_view why) = 0;
};

// The path under which the walk of a given one stores it: absolute, without
// ".", ".." and repeated slashes, the symlinks above it resolved, since the
// walk goes through none. A symlink at its end stays one, unless a slash
// follows. Throws repo::NotFound, naming the path, when it is not there;
// repo::IoError.
[[nodiscard]] std::string stored_path(const std::string& given);

// Walks the given paths as one tree from the root folder "/": parents of a path
// come with their own metadata and hold nothing else.
//
// A path inside another given one is not visited twice. It is never left out,
// and below it the rules and the file system are its own: after "/" and "/home"
// with FileSystems::one, a mounted /home is stored.
//
// Memory: the names in the folders from "/" to the current one.
//
// Threads        one thread at a time.
class FileSource {
 public:
  // Throws std::invalid_argument for a bad rule, repo::NotFound, naming the
  // path, when one does not exist.
  FileSource(std::span<const std::string> paths, FileSourceOptions options);
  ~FileSource();

  // Calls the visitor for the children of "/" downwards; "/" itself is not
  // reported unless it is one of the paths, in which case its children are.
  // Returns early, with folder_ends() not balanced, when `stop` is requested.
  void walk(FileVisitor& visitor, std::stop_token stop);

  // The stored_path() of each, sorted, once.
  [[nodiscard]] const std::vector<std::string>& paths() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Everything the system says of one path, the holes of a file included, without
// following a symlink at its end; for the destination of a restore and for
// tests. Throws repo::IoError; for a socket too.
[[nodiscard]] repo::Entry describe(const std::filesystem::path& path);

}  // namespace cairn::ingest
