#include "ingest/tar_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "ingest/byte_stream.h"
#include "repo/cbor.h"
#include "repo/node.h"

namespace cairn::ingest {
namespace {

struct Field {
  std::size_t offset;
  std::size_t size;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kModified{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kTypeAt = 156;
constexpr Field kLink{157, 100};
constexpr Field kMagic{257, 5};
constexpr Field kUser{265, 32};
constexpr Field kGroup{297, 32};
constexpr Field kPrefix{345, 155};

constexpr std::uint64_t kMaxMemberBytes = std::uint64_t{1} << 50;
constexpr std::uint32_t kModeBits = 07777;

using Block = std::array<std::byte, 512>;

std::string_view text(const Block& block, const Field& field) {
  const auto* const begin =
      reinterpret_cast<const char*>(block.data()) + field.offset;
  return {begin, ::strnlen(begin, field.size)};
}

// Octal digits, or, with the first bit set, a number of base 256.
std::optional<std::uint64_t> number(const Block& block, const Field& field) {
  const auto bytes = std::span(block).subspan(field.offset, field.size);
  constexpr unsigned kBinary = 0x80;
  std::uint64_t value = 0;
  if ((std::to_integer<unsigned>(bytes[0]) & kBinary) != 0) {
    if (bytes[0] != std::byte{kBinary}) return std::nullopt;
    for (const auto byte : bytes.subspan(1)) {
      if (value >> 56 != 0) return std::nullopt;
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  }
  bool has_digit = false;
  for (const auto byte : bytes) {
    const char digit = static_cast<char>(byte);
    if (digit == '\0' || digit == ' ') {
      if (has_digit) break;
      continue;
    }
    if (digit < '0' || digit > '7' || value >> 60 != 0) return std::nullopt;
    value = value << 3 | static_cast<std::uint64_t>(digit - '0');
    has_digit = true;
  }
  return value;
}

std::uint64_t checksum(const Block& block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool is_own =
        i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    sum +=
        is_own ? std::uint64_t{' '} : std::to_integer<std::uint64_t>(block[i]);
  }
  return sum;
}

bool is_empty(const Block& block) {
  return std::ranges::all_of(
      block, [](std::byte byte) { return byte == std::byte{}; });
}

bool is_valid_path(std::string_view path) {
  for (;;) {
    const auto slash = path.find('/');
    if (!repo::is_valid_name(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

TarReader::TarReader(std::string name, More more)
    : name_(std::move(name)), more_(std::move(more)) {}

std::optional<TarMember> TarReader::next() {
  skip(std::exchange(content_left_, 0));
  skip(std::exchange(padding_, 0));
  if (!read_block()) return std::nullopt;
  if (is_empty(block_)) {
    require_empty_rest();
    return std::nullopt;
  }
  auto found = member();
  member_ = found.path;
  if (found.entry.type == repo::EntryType::file) {
    content_left_ = found.entry.size;
    padding_ = (block_.size() - content_left_ % block_.size()) % block_.size();
  }
  return found;
}

std::size_t TarReader::read(std::span<std::byte> out) {
  if (content_left_ == 0 || out.empty()) return 0;
  if (ready_.empty() && !refill()) fail("ends inside a file");
  const auto size = static_cast<std::size_t>(
      std::min<std::uint64_t>({out.size(), ready_.size(), content_left_}));
  std::memcpy(out.data(), ready_.data(), size);
  ready_ = ready_.subspan(size);
  content_left_ -= size;
  return size;
}

bool TarReader::refill() {
  ready_ = more_();
  return !ready_.empty();
}

void TarReader::skip(std::uint64_t bytes) {
  while (bytes > 0) {
    if (ready_.empty() && !refill()) fail("ends inside a file");
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes, ready_.size()));
    ready_ = ready_.subspan(size);
    bytes -= size;
  }
}

// False: the archive has ended.
bool TarReader::read_block() {
  std::size_t have = 0;
  while (have < block_.size()) {
    if (ready_.empty() && !refill()) {
      if (have == 0) return false;
      fail("ends inside a header");
    }
    const std::size_t size = std::min(block_.size() - have, ready_.size());
    std::memcpy(block_.data() + have, ready_.data(), size);
    ready_ = ready_.subspan(size);
    have += size;
  }
  return true;
}

TarMember TarReader::member() const {
  if (text(block_, kMagic) != "ustar" ||
      number(block_, kChecksum) != checksum(block_)) {
    fail("holds a header that is none");
  }
  TarMember found;
  const auto prefix = text(block_, kPrefix);
  if (!prefix.empty()) found.path = std::string(prefix) + "/";
  found.path += text(block_, kName);
  const char type = static_cast<char>(block_[kTypeAt]);
  // PostgreSQL ends the name of a symlink to a folder like that of a folder.
  const bool may_end_so = type == '5' || type == '2';
  if (may_end_so && found.path.ends_with('/')) found.path.pop_back();
  if (found.path.starts_with("./")) found.path.erase(0, 2);
  if (!is_valid_path(found.path)) fail("holds a member with a bad name");

  const auto mode = number(block_, kMode);
  const auto uid = number(block_, kUid);
  const auto gid = number(block_, kGid);
  const auto size = number(block_, kSize);
  const auto modified = number(block_, kModified);
  const bool is_sound = mode && uid && gid && size && modified &&
                        *uid <= ~std::uint32_t{0} &&
                        *gid <= ~std::uint32_t{0} && *size <= kMaxMemberBytes;
  if (!is_sound) fail("holds a bad number at " + found.path);

  auto& entry = found.entry;
  entry.name = found.path.substr(found.path.rfind('/') + 1);
  entry.mode = static_cast<std::uint32_t>(*mode) & kModeBits;
  entry.uid = static_cast<std::uint32_t>(*uid);
  entry.gid = static_cast<std::uint32_t>(*gid);
  entry.user = repo::as_utf8(text(block_, kUser));
  entry.group = repo::as_utf8(text(block_, kGroup));
  entry.modified.seconds = static_cast<std::int64_t>(*modified);
  switch (type) {
    case '\0':
    case '0':
      entry.type = repo::EntryType::file;
      entry.size = *size;
      break;
    case '2':
      entry.type = repo::EntryType::symlink;
      entry.symlink_target = text(block_, kLink);
      break;
    case '5':
      entry.type = repo::EntryType::folder;
      break;
    default:
      fail("holds a member of an unknown kind: " + found.path);
  }
  return found;
}

void TarReader::require_empty_rest() {
  while (read_block()) {
    if (!is_empty(block_)) fail("goes on after its end");
  }
}

void TarReader::fail(const std::string& why) const {
  throw ProducerFailed("the archive " + name_ + " " + why +
                       (member_.empty() ? "" : ", after " + member_));
}

}  // namespace cairn::ingest
