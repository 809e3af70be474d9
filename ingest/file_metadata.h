// What the system says of a file, in our words.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ingest/file_source.h"
#include "repo/entry.h"

namespace cairn::ingest {

[[nodiscard]] repo::Timestamp timestamp_of(const timespec& time) noexcept;
[[nodiscard]] FileState state_of(const struct stat& status) noexcept;

// Nothing for a socket, and for what a newer kernel may bring.
[[nodiscard]] std::optional<repo::EntryType> type_of(mode_t mode) noexcept;

// The names of users and groups, each asked for once: an answer may come from
// a directory server.
//
// Threads        one thread at a time.
class OwnerNames {
 public:
  // Empty where the system knows none. The reference holds until the next call.
  [[nodiscard]] const std::string& user(uid_t uid);
  [[nodiscard]] const std::string& group(gid_t gid);

 private:
  std::unordered_map<uid_t, std::string> users_;
  std::unordered_map<gid_t, std::string> groups_;
};

// Fills all of `entry` that `status` tells, and empties the rest but the name.
//
// Requires: type_of(status.st_mode) is something.
void set_from_status(repo::Entry& entry, const struct stat& status,
                     OwnerNames& names);

// 0 or an errno. `name` is relative to `folder`.
[[nodiscard]] int read_symlink(int folder, const char* name,
                               std::string& target);

// The holes of an open regular file, by SEEK_DATA and SEEK_HOLE; none, without
// asking, where it has all the blocks its size needs. Bounded: a file of more
// than kMaxHoles has zeros in place of the further ones.
inline constexpr std::size_t kMaxHoles = std::size_t{1} << 18;
[[nodiscard]] std::vector<repo::Extent> holes_of(int fd,
                                                 const struct stat& status);

}  // namespace cairn::ingest
