// What client and server say to each other while WAL is streamed (PostgreSQL
// manual, "Streaming Replication Protocol"), and what the server's files and
// settings say of it: pure functions.
//
// Failure        PostgresError for what no server sends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ingest/wal_name.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct WalData {
  Lsn start;
  Lsn server_end;  // how far the server's WAL goes by now
  std::span<const std::byte> bytes;
};

struct WalKeepalive {
  Lsn server_end;
  bool wants_reply = false;
};

// Borrows the message.
[[nodiscard]] std::variant<WalData, WalKeepalive> parse_wal_message(
    std::span<const std::byte> message);

enum class Reply { needless, wanted };

inline constexpr std::size_t kStandbyStatusBytes = 34;

// What moves the slot: all before `flushed` the server may forget.
[[nodiscard]] std::array<std::byte, kStandbyStatusBytes> standby_status(
    Lsn written, Lsn flushed, const repo::Timestamp& now, Reply reply);

// Whether a segment of that cluster begins so (PostgreSQL source,
// XLogLongPageHeaderData), as far as there are bytes of its header.
[[nodiscard]] bool is_segment_head(std::span<const std::byte> bytes, Lsn lsn,
                                   std::uint64_t system,
                                   std::uint64_t segment_bytes);

// Where a timeline ended, and the next one of the file's began.
struct TimelineEnd {
  std::uint32_t timeline = 0;
  Lsn end;

  bool operator==(const TimelineEnd&) const = default;
};

// Of a timeline history file, oldest first.
[[nodiscard]] std::vector<TimelineEnd> parse_timeline_history(
    std::string_view content);

// "16MB", as SHOW has it; in bytes.
[[nodiscard]] std::uint64_t parse_setting_bytes(std::string_view text);

}  // namespace cairn::ingest
