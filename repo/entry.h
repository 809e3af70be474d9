// One file, folder, link or stream of a snapshot, as it was: its name and what
// the system says of it. What it contains lies beside it as rows of a links
// blob (FORMAT.md, section 6.6).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::repo {

enum class EntryType : std::uint8_t {
  file = 0,
  folder = 1,
  symlink = 2,
  fifo = 3,
  char_device = 4,
  block_device = 5,
  stream = 6,  // bytes without a file: standard input, a command's output
};

// Seconds since 1970 and a part below one second; file systems allow more than
// 64 bits of nanoseconds can hold.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;  // below 1e9

  auto operator<=>(const Timestamp&) const = default;
};

struct Xattr {
  std::string name;   // whole, such as "user.note" or "system.posix_acl_access"
  std::string value;  // any bytes

  auto operator<=>(const Xattr&) const = default;
};

// A run of bytes of a file, in bytes from its start.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;

  auto operator<=>(const Extent&) const = default;
};

// Entries of one snapshot that carry the same number are one file with several
// names.
struct HardLink {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  auto operator<=>(const HardLink&) const = default;
};

struct DeviceNumber {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;

  auto operator<=>(const DeviceNumber&) const = default;
};

// How the bytes of a file or stream were cut; recorded so that the next state
// is cut the same way.
enum class Profile : std::uint8_t {
  cdc = 0,
  page = 1,
};

// Of the stream before it was taken apart (WeaveDigester).
using WeaveDigest = std::array<std::byte, 16>;

inline constexpr unsigned kRecipePart = 0;
inline constexpr unsigned kMaxWeaveParts = 8;
inline constexpr std::size_t kWeaveStepBytes = 8;  // of a recipe

// How a stream is put together from parts that were cut by themselves
// (repo/weave.h).
struct Weave {
  WeaveDigest digest{};
  std::vector<std::uint64_t> parts;  // bytes of each; the first is the recipe

  bool operator==(const Weave&) const = default;
};

struct Entry {
  std::string name;  // any bytes but NUL and "/"; not ".", "..", empty
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;  // permission bits with setuid, setgid, sticky: 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string user;  // names as the source machine knew them; may be empty
  std::string group;
  Timestamp modified;
  std::uint64_t size = 0;  // as read(2) would give it, holes included
  std::optional<HardLink> hard_link;  // only where the file has several names
  std::string symlink_target;
  std::optional<DeviceNumber> device;  // of the two device types
  std::vector<Xattr> xattrs;           // by name, ascending
  std::vector<Extent> holes;           // ascending, apart, not empty
  Profile profile = Profile::cdc;
  std::optional<Weave> weave;  // then it has no holes

  bool operator==(const Entry&) const = default;
};

// True for the types whose bytes are stored.
[[nodiscard]] constexpr bool has_content(EntryType type) noexcept {
  return type == EntryType::file || type == EntryType::stream;
}

}  // namespace cairn::repo
