#include "ingest/tar_splitter.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace cairn::ingest {
namespace {

struct Field {
  std::size_t offset;
  std::size_t size;
};
constexpr Field kSize{124, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kTypeOffset = 156;
constexpr Field kMagic{257, 5};
// In GNU tar's headers of sparse members: whether a block with more of the map
// follows; and in such a block, whether another does.
constexpr std::size_t kSparseGoesOn = 482;
constexpr std::size_t kSparseMapGoesOn = 504;

// Records beyond this are passed on unread: a name may be long, a size is not.
constexpr std::size_t kMaxExtensionBytes = std::size_t{64} << 10;

// Larger than any file; a sum with padding does not overflow.
constexpr std::uint64_t kMaxMember = std::uint64_t{1} << 56;

using Block = std::span<const std::byte, kTarBlockBytes>;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Octal digits between blanks or NULs, or GNU's base 256 after a first byte of
// 0x80. Nothing: neither.
std::optional<std::uint64_t> number_in(Block block, Field field) {
  auto text = text_of(block.subspan(field.offset, field.size));
  if (static_cast<unsigned char>(text.front()) == 0x80) {
    std::uint64_t value = 0;
    for (const char c : text.substr(1)) {
      if (value >> 48 != 0) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(c);
    }
    return value;
  }
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\0')) text.remove_suffix(1);
  std::uint64_t value = 0;
  if (text.empty()) return value;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// The sum of all bytes, the checksum's own counted as blanks.
bool has_right_checksum(Block block) {
  const auto noted = number_in(block, kChecksum);
  if (!noted) return false;
  std::uint64_t sum = kChecksum.size * ' ';
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool is_own =
        i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    if (!is_own) sum += std::to_integer<std::uint64_t>(block[i]);
  }
  return sum == *noted;
}

bool is_header(Block block) {
  return text_of(block.subspan(kMagic.offset, kMagic.size)) == "ustar" &&
         has_right_checksum(block) && number_in(block, kSize);
}

bool is_zero(Block block) {
  return std::ranges::all_of(
      block, [](std::byte byte) { return byte == std::byte{}; });
}

// Links, folders and devices have no content, whatever their size says; of
// types that are not known it is believed.
bool has_content(char type) {
  return std::string_view("123456").find(type) == std::string_view::npos;
}

// What follows such a header says something of the next one.
bool is_extension(char type) {
  return std::string_view("xgLK").find(type) != std::string_view::npos;
}

// The value of "size" among pax records, "<length> <key>=<value>\n" each.
std::optional<std::uint64_t> size_among(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(
        records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    if (error != std::errc() || length <= digits + 1 ||
        length > records.size()) {
      return std::nullopt;
    }
    const auto record = records.substr(digits, length - digits);
    constexpr std::string_view kKey = " size=";
    if (record.starts_with(kKey) && record.ends_with('\n')) {
      const auto value =
          record.substr(kKey.size(), record.size() - kKey.size() - 1);
      std::uint64_t size = 0;
      const auto [last, bad] =
          std::from_chars(value.data(), value.data() + value.size(), size);
      if (bad != std::errc() || last != value.data() + value.size()) {
        return std::nullopt;
      }
      return size;
    }
    records.remove_prefix(length);
  }
  return std::nullopt;
}

std::uint64_t padding_after(std::uint64_t size) {
  return (kTarBlockBytes - size % kTarBlockBytes) % kTarBlockBytes;
}

}  // namespace

bool begins_like_tar(std::span<const std::byte> bytes) {
  return bytes.size() >= kTarBlockBytes &&
         is_header(bytes.first<kTarBlockBytes>());
}

void TarSplitter::enter(State state, std::uint64_t size) {
  state_ = state;
  left_ = size;
}

void TarSplitter::split(std::span<const std::byte> bytes, const Take& take) {
  while (!bytes.empty()) {
    Piece piece;
    const std::size_t size =
        state_ == State::unknown
            ? bytes.size()
            : static_cast<std::size_t>(
                  std::min<std::uint64_t>(bytes.size(), left_));
    piece.bytes = bytes.first(size);
    bytes = bytes.subspan(size);
    if (state_ == State::unknown) {
      piece.kind = Kind::content;
      take(piece);
      continue;
    }
    left_ -= size;
    if (state_ == State::content) {
      piece.kind = Kind::content;
      piece.member_size = std::exchange(member_size_, 0);
    } else if (state_ == State::header || state_ == State::sparse_map) {
      std::memcpy(header_.data() + kTarBlockBytes - left_ - size,
                  piece.bytes.data(), size);
    } else if (state_ == State::extension &&
               extension_.size() + size <= kMaxExtensionBytes) {
      extension_ += text_of(piece.bytes);
    }
    // A header that is none is content, but only its last piece is known to be.
    if (left_ == 0) pass_on(piece);
    take(piece);
  }
}

// To what follows what has passed.
void TarSplitter::pass_on(Piece& piece) {
  switch (state_) {
    case State::header:
      read_header();
      if (state_ == State::unknown) piece.kind = Kind::content;
      return;
    case State::sparse_map:
      if (header_[kSparseMapGoesOn] != std::byte{}) {
        return enter(State::sparse_map, kTarBlockBytes);
      }
      return begin_content();
    case State::extension:
      if (const auto size = size_among(extension_)) size_of_next_ = size;
      extension_.clear();
      break;
    case State::content:
    case State::padding:
    case State::unknown:
      break;
  }
  if (state_ != State::padding && padding_ > 0) {
    enter(State::padding, std::exchange(padding_, 0));
  } else {
    enter(State::header, kTarBlockBytes);
  }
}

void TarSplitter::read_header() {
  if (is_zero(header_)) return enter(State::header, kTarBlockBytes);
  if (!is_header(header_)) return enter(State::unknown, 0);
  const char type = std::to_integer<char>(header_[kTypeOffset]);
  std::uint64_t size = *number_in(header_, kSize);
  if (!is_extension(type)) {
    size = std::exchange(size_of_next_, std::nullopt).value_or(size);
  }
  if (size > kMaxMember) return enter(State::unknown, 0);
  if (!has_content(type)) size = 0;
  padding_ = padding_after(size);
  if (is_extension(type) && size > 0) return enter(State::extension, size);
  member_size_ = size;
  if (type == 'S' && header_[kSparseGoesOn] != std::byte{}) {
    return enter(State::sparse_map, kTarBlockBytes);
  }
  begin_content();
}

void TarSplitter::begin_content() {
  if (member_size_ == 0) return enter(State::header, kTarBlockBytes);
  enter(State::content, member_size_);
}

}  // namespace cairn::ingest
