// The folder a restore writes into, and the promise that nothing outside it is
// ever touched, whatever names the snapshot holds and whoever swaps symlinks in
// the target meanwhile.
//
// Every step is taken relative to a folder descriptor that was itself opened
// beneath the target (openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS; on kernels without it, component by component with
// O_NOFOLLOW). Contents come first, then owner, xattrs, mode and times by
// descriptor, folders last, bottom up, so that a read-only folder can be
// filled and its times are its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/entry.h"

namespace cairn::ingest {

enum class Overwrite {
  refuse,      // the target is empty or absent; anything else is RefusedForSafety
  never,       // what exists stays as it is
  if_changed,  // rewrites only the ranges whose bytes differ
  always,      // replaces what exists
};

// What became of metadata that could not be set: not root, a file system
// without xattrs. Grouped by cause, so that a million files make one line.
struct Shortfall {
  std::string what;   // "owner", "xattr user.note", ...
  std::string why;    // strerror's words
  std::string first;  // the first path that met it
  std::uint64_t count = 0;
};

// A regular file being written.
//
// Threads        write() and matches() from many threads at once, on ranges
//                that do not overlap; finish() after all of them.
// Abandonment    destroyed before finish(), a file that did not exist before is
//                removed.
class TargetFile {
 public:
  TargetFile(TargetFile&&) noexcept;
  TargetFile& operator=(TargetFile&&) noexcept;
  ~TargetFile();

  // Throws repo::IoError, repo::OutOfSpace.
  void write(std::uint64_t offset, std::span<const std::byte> bytes);

  // True if the file holds exactly these bytes there already. Only meaningful
  // for Overwrite::if_changed; false for a new file.
  [[nodiscard]] bool matches(std::uint64_t offset,
                             std::span<const std::byte> bytes) const;

  // Sets the length, punches `entry.holes`, then owner, xattrs, mode, times.
  void finish() &&;

  [[nodiscard]] const std::string& path() const noexcept;

 private:
  friend class TargetTree;
  struct State;
  explicit TargetFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Threads        all members from one thread; TargetFiles see above.
class TargetTree {
 public:
  // Creates `root` if it is absent (0700 until finish). Throws
  // repo::RefusedForSafety when it is not empty and `overwrite` is refuse, or
  // when it is no folder.
  TargetTree(const std::filesystem::path& root, Overwrite overwrite);
  ~TargetTree();

  // Enters and creates the folder `entry.name` below the current one; the
  // first call may name the root itself by an empty name, which then takes the
  // entry's metadata. Throws repo::CorruptionError for a name that may not
  // occur: empty elsewhere, ".", "..", with a slash or NUL.
  void enter(const repo::Entry& entry);
  void leave();

  // A regular file or stream in the current folder. Nothing: it exists and
  // stays as it is (Overwrite::never).
  [[nodiscard]] std::optional<TargetFile> create_file(const repo::Entry& entry);

  // Symlink, fifo, device. A device without the right to make one is a
  // Shortfall.
  void create_other(const repo::Entry& entry);

  // A further name for a file that this run finished earlier, known by its
  // entry's hard_link. False: there is none; restore it as a file.
  [[nodiscard]] bool link(const repo::Entry& entry);

  // Sets the metadata of the folders, deepest first. Only what this run
  // entered is touched.
  void finish();

  [[nodiscard]] const std::vector<Shortfall>& shortfalls() const noexcept;

  // For messages: the path of `name` in the current folder, beneath root.
  [[nodiscard]] std::string path_of(std::string_view name) const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the TargetFiles it handed out
};

}  // namespace cairn::ingest
