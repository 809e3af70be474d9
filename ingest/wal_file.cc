#include "ingest/wal_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <utility>

namespace cairn::ingest {
namespace {

constexpr std::size_t kWordDigits = 8;
constexpr std::size_t kSegmentDigits = 3 * kWordDigits;
constexpr std::string_view kPartial = ".partial";
constexpr std::string_view kHistory = ".history";
constexpr std::string_view kBackup = ".backup";

bool is_hex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
  });
}

std::optional<WalFileName::Kind> kind_of(std::string_view rest) {
  using enum WalFileName::Kind;
  if (rest.empty()) return segment;
  if (rest == kPartial) return partial;
  if (rest.size() == 1 + kWordDigits + kBackup.size() && rest[0] == '.' &&
      is_hex(rest.substr(1, kWordDigits)) && rest.ends_with(kBackup)) {
    return backup;
  }
  return std::nullopt;
}

std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t at,
                        std::size_t size, std::endian order) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t place =
        order == std::endian::big ? at + i : at + size - 1 - i;
    number = number << 8 | std::to_integer<std::uint64_t>(bytes[place]);
  }
  return number;
}

// XLOG_PAGE_MAGIC, which changes with each major version.
std::optional<int> version_of(std::uint64_t magic) {
  constexpr std::pair<std::uint64_t, int> kMagics[] = {
      {0xD106, 13}, {0xD10D, 14}, {0xD110, 15},
      {0xD113, 16}, {0xD116, 17}, {0xD118, 18}};
  for (const auto& [known, version] : kMagics) {
    if (magic == known) return version;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Lsn> WalFileName::begin(std::uint64_t segment_bytes) const {
  return parse_segment_name(std::string_view(text).substr(0, kSegmentDigits),
                            timeline, segment_bytes);
}

std::optional<WalFileName> parse_wal_file_name(std::string_view name) {
  if (name.size() < kWordDigits || !is_hex(name.substr(0, kWordDigits))) {
    return std::nullopt;
  }
  const auto timeline = parse_number(name.substr(0, kWordDigits), 16);
  if (!timeline || *timeline == 0) return std::nullopt;
  std::optional<WalFileName::Kind> kind;
  if (name.substr(kWordDigits) == kHistory) {
    kind = WalFileName::Kind::history;
  } else if (name.size() >= kSegmentDigits &&
             is_hex(name.substr(0, kSegmentDigits))) {
    kind = kind_of(name.substr(kSegmentDigits));
  }
  if (!kind) return std::nullopt;
  return WalFileName{*kind, static_cast<std::uint32_t>(*timeline),
                     std::string(name)};
}

std::optional<WalSegmentHead> parse_segment_head(
    std::span<const std::byte> bytes) {
  constexpr std::uint64_t kLongHeader = 0x0002;
  constexpr std::size_t kInfo = 2;
  constexpr std::size_t kTimeline = 4;
  constexpr std::size_t kAddress = 8;
  constexpr std::size_t kSystem = 24;
  constexpr std::size_t kSegmentBytes = 32;
  for (const auto order : {std::endian::little, std::endian::big}) {
    const auto number = [&](std::size_t at, std::size_t size) {
      return number_at(bytes, at, size, order);
    };
    const WalSegmentHead head{
        .timeline = static_cast<std::uint32_t>(number(kTimeline, 4)),
        .begin = {number(kAddress, 8)},
        .system = number(kSystem, 8),
        .segment_bytes = number(kSegmentBytes, 4),
        .major_version = version_of(number(0, 2))};
    // All magics so far begin with D0 or D1.
    const bool is_magic = number(0, 2) >> 12 == 0xD;
    if (is_magic && (number(kInfo, 2) & kLongHeader) != 0 &&
        is_segment_size(head.segment_bytes) && head.timeline > 0 &&
        head.system > 0 && head.begin.value % head.segment_bytes == 0) {
      return head;
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> system_of_data_directory(
    const std::filesystem::path& folder) {
  // ControlFileData begins with it.
  std::ifstream in(folder / "global" / "pg_control", std::ios::binary);
  std::array<char, sizeof(std::uint64_t)> bytes{};
  if (!in.read(bytes.data(), bytes.size())) return std::nullopt;
  std::uint64_t system = 0;
  std::memcpy(&system, bytes.data(), bytes.size());
  if (system == 0) return std::nullopt;
  return system;
}

}  // namespace cairn::ingest
