// The files of a server's pg_wal, as archive_command and restore_command hand
// them over and ask for them (PostgreSQL source, xlog_internal.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ingest/wal_name.h"

namespace cairn::ingest {

struct WalFileName {
  enum class Kind {
    segment,  // 000000010000000000000001
    partial,  // 000000010000000000000001.partial: the last one of a timeline
    history,  // 00000002.history
    backup,   // 000000010000000000000001.00000028.backup: for people alone
  };

  Kind kind = Kind::segment;
  std::uint32_t timeline = 0;
  std::string text;  // all of it

  // Where the segment begins that it is, or that it tells of. Nothing: no
  // segment of that size is called so. Requires: it is no history file.
  [[nodiscard]] std::optional<Lsn> begin(std::uint64_t segment_bytes) const;
};

// Nothing: no server gives a file that name.
[[nodiscard]] std::optional<WalFileName> parse_wal_file_name(
    std::string_view name);

// What the first page of a segment says (XLogLongPageHeaderData).
struct WalSegmentHead {
  // Lower than that of the file where a timeline began within the segment.
  std::uint32_t timeline = 0;
  Lsn begin;
  std::uint64_t system = 0;
  std::uint64_t segment_bytes = 0;
  // Of the program that wrote it; nothing: none that is known.
  std::optional<int> major_version;
};

inline constexpr std::size_t kWalSegmentHeadBytes = 40;

// In the order of bytes of either kind of machine. Nothing: no segment begins
// so. Requires: kWalSegmentHeadBytes of them at least.
[[nodiscard]] std::optional<WalSegmentHead> parse_segment_head(
    std::span<const std::byte> bytes);

// Of which cluster that data directory is; nothing: it cannot be read, or is
// none. Of this machine's order of bytes.
[[nodiscard]] std::optional<std::uint64_t> system_of_data_directory(
    const std::filesystem::path& folder);

}  // namespace cairn::ingest
