// The open folders from a start down to the current one, however deep, with a
// bounded number of descriptors.
//
//   start  a  b  c  ...  w  x  y  z       z is the current one
//   held   -  -  -  ...  held ...         the last kHeld, and the start
//
// A folder whose descriptor was given up is found again by ".." from its child,
// and if that does not lead to the very same folder (it was moved meanwhile),
// by the names from the nearest one held. What is found must be the folder that
// was left, by device, inode and time of birth; otherwise it counts as lost.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ingest/unique_fd.h"

namespace cairn::ingest {

// Threads        one thread at a time.
class FolderChain {
 public:
  // `reopen_flags` are those of open(2) for finding a folder again: O_PATH or
  // O_RDONLY.
  FolderChain(UniqueFd start, int reopen_flags);

  // The current folder; -1 when it is lost. The shared form keeps the
  // descriptor open for who needs it longer than the chain does.
  [[nodiscard]] int fd() const noexcept;
  [[nodiscard]] std::shared_ptr<const UniqueFd> share() const noexcept;

  [[nodiscard]] int start() const noexcept;

  // Folders below the start; 0 at the start.
  [[nodiscard]] std::size_t depth() const noexcept;

  void push(UniqueFd folder, std::string name);

  // Back to the parent, which may turn out to be lost.
  void pop();

 private:
  struct Identity {
    std::uint64_t device;
    std::uint64_t inode;
    std::int64_t born_seconds;
    std::uint32_t born_nanoseconds;
    bool operator==(const Identity&) const = default;
  };
  struct Level {
    std::shared_ptr<const UniqueFd> fd;
    std::optional<Identity> identity;  // known once fd was given up
    std::string name;
  };

  static constexpr std::size_t kHeld = 64;

  static std::optional<Identity> identity_of(int fd);
  UniqueFd open_again(const Level& child) const;
  bool is_current(const UniqueFd& fd) const;

  const int reopen_flags_;
  std::vector<Level> levels_;  // never empty
};

}  // namespace cairn::ingest
