#include "ingest/wal_protocol.h"

#include <algorithm>
#include <utility>

#include "ingest/postgres_connection.h"

namespace cairn::ingest {
namespace {

// From 1970 to 2000, from where PostgreSQL counts.
constexpr std::int64_t kEpochSeconds = 946'684'800;
constexpr std::int64_t kMicroseconds = 1'000'000;

constexpr std::size_t kWordBytes = 8;
constexpr std::size_t kDataHeaderBytes = 1 + 3 * kWordBytes;
constexpr std::size_t kKeepaliveBytes = 1 + 2 * kWordBytes + 1;

[[noreturn]] void refuse(const std::string& what) {
  throw PostgresError("PostgreSQL: " + what, "",
                      PostgresError::Connection::lost);
}

// In the byte order of the network, unlike everything of ours.
std::uint64_t get_word(std::span<const std::byte> in) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < kWordBytes; ++i) {
    word = word << 8 | std::to_integer<std::uint64_t>(in[i]);
  }
  return word;
}

void put_word(std::span<std::byte> out, std::uint64_t word) {
  for (std::size_t i = kWordBytes; i > 0; --i) {
    out[i - 1] = static_cast<std::byte>(word);
    word >>= 8;
  }
}

}  // namespace

std::variant<WalData, WalKeepalive> parse_wal_message(
    std::span<const std::byte> message) {
  const char kind =
      message.empty() ? '\0' : std::to_integer<char>(message.front());
  if (kind == 'w' && message.size() >= kDataHeaderBytes) {
    const WalData data{{get_word(message.subspan(1))},
                       {get_word(message.subspan(1 + kWordBytes))},
                       message.subspan(kDataHeaderBytes)};
    if (data.bytes.size() > ~data.start.value) refuse("WAL beyond its end");
    return data;
  }
  if (kind == 'k' && message.size() >= kKeepaliveBytes) {
    return WalKeepalive{{get_word(message.subspan(1))},
                        message[kKeepaliveBytes - 1] != std::byte{0}};
  }
  refuse("a message that streaming of WAL does not know");
}

std::array<std::byte, kStandbyStatusBytes> standby_status(
    Lsn written, Lsn flushed, const repo::Timestamp& now, Reply reply) {
  constexpr Lsn kApplied{0};  // nothing ever is
  std::array<std::byte, kStandbyStatusBytes> message{};
  const std::span out(message);
  message[0] = std::byte{'r'};
  put_word(out.subspan(1), written.value);
  put_word(out.subspan(1 + kWordBytes), flushed.value);
  put_word(out.subspan(1 + 2 * kWordBytes), kApplied.value);
  const std::int64_t time = (now.seconds - kEpochSeconds) * kMicroseconds +
                            static_cast<std::int64_t>(now.nanoseconds / 1000);
  put_word(out.subspan(1 + 3 * kWordBytes), static_cast<std::uint64_t>(time));
  message.back() = std::byte{reply == Reply::wanted};
  return message;
}

bool is_segment_head(std::span<const std::byte> bytes, Lsn lsn,
                     std::uint64_t system, std::uint64_t segment_bytes) {
  constexpr std::size_t kAddress = 8;
  constexpr std::size_t kSystem = 24;
  constexpr std::size_t kSegmentBytes = 32;
  constexpr std::size_t kHeaderBytes = 40;
  if (bytes.size() < kHeaderBytes) return true;
  // Of the server's machine: one order of bytes or the other.
  const auto is_number = [&](std::size_t at, std::size_t size,
                             std::uint64_t number) {
    std::uint64_t little = 0;
    std::uint64_t big = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const auto byte = std::to_integer<std::uint64_t>(bytes[at + i]);
      little |= byte << (8 * i);
      big = big << 8 | byte;
    }
    return little == number || big == number;
  };
  return is_number(kAddress, kWordBytes, lsn.value) &&
         is_number(kSystem, kWordBytes, system) &&
         is_number(kSegmentBytes, kWordBytes / 2, segment_bytes);
}

std::vector<TimelineEnd> parse_timeline_history(std::string_view content) {
  std::vector<TimelineEnd> ends;
  while (!content.empty()) {
    const auto stop = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, stop);
    content.remove_prefix(std::min(stop + 1, content.size()));
    const auto next_word = [&line] {
      const auto begin = std::min(line.find_first_not_of(" \t\r"), line.size());
      line.remove_prefix(begin);
      const auto end = std::min(line.find_first_of(" \t\r"), line.size());
      return std::exchange(line, line.substr(end)).substr(0, end);
    };
    const std::string_view first = next_word();
    if (first.empty() || first.starts_with('#')) continue;
    const auto timeline = parse_number(first, 10);
    const auto end = parse_lsn(next_word());
    if (!timeline || !end || *timeline == 0 || *timeline > UINT32_MAX ||
        (!ends.empty() && ends.back().timeline >= *timeline)) {
      refuse("a timeline history file that is none");
    }
    ends.push_back({static_cast<std::uint32_t>(*timeline), *end});
  }
  return ends;
}

std::uint64_t parse_setting_bytes(std::string_view text) {
  const auto digits =
      std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_number(text.substr(0, digits), 10);
  constexpr std::uint64_t kMost = std::uint64_t{1} << 20;  // of any unit
  constexpr std::pair<std::string_view, unsigned> kUnits[] = {
      {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}};
  for (const auto& [unit, shift] : kUnits) {
    if (number && *number < kMost && text.substr(digits) == unit) {
      return *number << shift;
    }
  }
  refuse("a size that is none: " + std::string(text.substr(0, 20)));
}

}  // namespace cairn::ingest
