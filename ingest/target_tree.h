// The folder a restore writes into, and the promise that nothing outside it is
// ever touched, whatever names the snapshot holds and whoever swaps symlinks in
// the target meanwhile.
//
// Every step is taken relative to a folder descriptor that was itself opened
// beneath the target (openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS; on kernels without it, component by component with
// O_NOFOLLOW). Contents come first, then owner, xattrs, mode and times by
// descriptor; a folder gets its own when all its entries are done, so that a
// read-only folder can be filled and its times are its own.
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
#include "repo/node.h"

namespace cairn::ingest {

enum class Overwrite {
  refuse,  // the target is empty or absent; anything else is RefusedForSafety
  never,   // what exists stays as it is
  if_changed,  // replaces what differs; of a file, decodes only what differs
  always,      // replaces what exists
};

// Throws, as a TargetTree would that is made so, RefusedForSafety for a target
// that is in the way. Makes nothing.
void require_target(const std::filesystem::path& root, Overwrite overwrite);

// What became of metadata that could not be set: not root, a file system
// without xattrs. Grouped by cause, so that a million files make one line.
struct Shortfall {
  std::string what;   // "owner", "xattr user.note", ...
  std::string why;    // strerror's words
  std::string first;  // the first path that met it
  std::uint64_t count = 0;
  // The disk was full or failed: no property of the target, but a failure.
  bool is_of_disk = false;
};

// A regular file being written: without a name, or, where that is not possible
// or another file has its name, under a temporary one in its folder,
// .cairn-<process>-<number>. Until finish() its own name is free, or the old
// one's; what a process left that was killed is removed by the next one that
// comes to the folder. With Overwrite::if_changed the old one stays for good if
// nothing is written, and gets its metadata where it is, if that is safe: a
// regular file with one name that nobody else may write. What a file contains
// is never changed where it is.
//
// Threads        write() and reading from many threads at once, on ranges
//                that do not overlap; finish() after all of them. Each file may
//                be finished on a thread of its own, also after its folder was
//                left, but before the tree is finished.
// Abandonment    destroyed before finish(), it leaves the place as it was.
class TargetFile {
 public:
  TargetFile(TargetFile&&) noexcept;
  TargetFile& operator=(TargetFile&&) noexcept;
  ~TargetFile();

  // From the first one on there is a new file, which holds nothing of the old
  // one. Throws repo::IoError, repo::OutOfSpace; repo::CorruptionError beyond
  // the entry's size.
  void write(std::uint64_t offset, std::span<const std::byte> bytes);

  // True for a file that was there and may stay, where read_old() tells what
  // need not be decoded; and whether there is a new one beside it.
  [[nodiscard]] bool has_old() const noexcept;
  [[nodiscard]] bool is_replaced() const;

  // Fills `out` with what the file holds that finish() leaves under the name;
  // answers how many bytes it has from `offset` on, at most out.size().
  [[nodiscard]] std::size_t read(std::uint64_t offset,
                                 std::span<std::byte> out) const;
  // Likewise, of the file that was there. Requires: has_old().
  [[nodiscard]] std::size_t read_old(std::uint64_t offset,
                                     std::span<std::byte> out) const;

  // Sets the length of a new file, then owner, xattrs, mode, times, and gives
  // it its name. Throws repo::RefusedForSafety when something that may not be
  // replaced has got that meanwhile.
  void finish() &&;

  [[nodiscard]] const std::string& path() const noexcept;

 private:
  friend class TargetTree;
  struct State;
  explicit TargetFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What became of a folder that was to be entered.
enum class Entered {
  yes,
  passed_over,  // Overwrite::never, and what has its name is no folder
};

// What became of a further name.
enum class Linked {
  done,        // made, or something of that name stays (Overwrite::never)
  unknown,     // no earlier file to link to: restore it as a file
  unfinished,  // the earlier file is still being written: ask again after that
};

// Threads        all members from one thread; TargetFiles see above.
// Descriptors    64 folders however deep the tree, one per unfinished file, and
//                one per folder that was left with unfinished files in it.
// Failure        a member that throws has changed nothing but what stood in the
//                way of the entry; the tree can be used further.
class TargetTree {
 public:
  // Creates `root` if it is absent; it stays 0700 unless an entry says
  // otherwise. A symlink at the end of `root` is followed: it is the user's own
  // word. Throws repo::RefusedForSafety when it is not empty and `overwrite` is
  // refuse, or when it is no folder.
  TargetTree(const std::filesystem::path& root, Overwrite overwrite);
  ~TargetTree();

  // Enters the folder `entry.name` below the current one and creates it if
  // needed; the first call may name the root itself by an empty name, which
  // then takes the entry's metadata. Throws repo::CorruptionError for a name
  // that may not occur: empty elsewhere, ".", "..", with a slash or NUL. A
  // folder that was there keeps its metadata with Overwrite::never.
  //
  // Everything up to the leave() of a folder that is passed over is passed over
  // too, by the tree itself: the caller may go on as if it had been entered.
  Entered enter(const repo::Entry& entry);

  // Once the last file of the folder is finished, it gets its metadata.
  void leave();

  // A regular file or stream in the current folder. Nothing: it exists and
  // stays as it is (Overwrite::never). Throws repo::RefusedForSafety when a
  // folder that is not empty is in the way.
  // `rows` are its content: with them a further name is known to be of it.
  [[nodiscard]] std::optional<TargetFile> create_file(
      const repo::Entry& entry, std::span<const repo::Link> rows = {});

  // With Overwrite::if_changed, of an entry with several names: the file that
  // is there, if it has several, too, and all but its content is as the entry
  // says. It is read only: whoever finds the content there too finishes it,
  // which changes nothing and lets link() know it; else it is destroyed, and
  // create_file() replaces it. One that stays for another entry is not found
  // again: what the snapshot has apart must not become one file.
  [[nodiscard]] std::optional<TargetFile> find_linked(
      const repo::Entry& entry, std::span<const repo::Link> rows = {});

  // Symlink, fifo, device. False: something of that name stays as it is
  // (Overwrite::never).
  bool create_other(const repo::Entry& entry);

  // A further name for a file that this run made, known by
  // repo::linked_file_id().
  [[nodiscard]] Linked link(const repo::Entry& entry,
                            std::span<const repo::Link> rows = {});

  // Leaves what is still entered and sets the metadata of the root. Only what
  // this run entered is touched. Once it has returned, what lies on the
  // target's own file system survives a power cut; throws repo::IoError if it
  // may not.
  //
  // Requires: every TargetFile is finished or destroyed.
  void finish();

  // Requires: no TargetFile is being finished.
  [[nodiscard]] const std::vector<Shortfall>& shortfalls() const noexcept;

  // For messages: the path of `name` in the current folder, with the root's.
  [[nodiscard]] std::string path_of(std::string_view name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
