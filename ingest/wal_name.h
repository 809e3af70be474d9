// Places in WAL, and what its stretches are called, here and by PostgreSQL
// (FORMAT.md, 6.8.2).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ingest/lsn.h"

namespace cairn::ingest {

// A growing stretch of the WAL of one timeline of one cluster.
struct WalStreamId {
  std::uint64_t system = 0;  // the cluster's system identifier
  std::uint32_t timeline = 0;
  Lsn start;  // where a segment begins

  auto operator<=>(const WalStreamId&) const = default;
};

// "wal/7412345678901234567/00000001/0000000001000000": where it lies in its
// snapshot.
[[nodiscard]] std::string path_of(const WalStreamId& stream);
[[nodiscard]] std::optional<WalStreamId> parse_wal_path(std::string_view path);

// "00000002.history".
[[nodiscard]] std::string history_name(std::uint32_t timeline);

// "000000010000000000000001": the file of pg_wal that holds that byte.
[[nodiscard]] std::string segment_name(std::uint32_t timeline, Lsn lsn,
                                       std::uint64_t segment_bytes);
// Where it begins. Nothing: it is no such name, or of another timeline.
[[nodiscard]] std::optional<Lsn> parse_segment_name(
    std::string_view name, std::uint32_t timeline, std::uint64_t segment_bytes);

// A power of two from 1 MiB to 1 GiB.
[[nodiscard]] bool is_segment_size(std::uint64_t bytes) noexcept;

// Where the segment with that byte begins.
[[nodiscard]] constexpr Lsn segment_begin(Lsn lsn,
                                          std::uint64_t segment_bytes) {
  return {lsn.value / segment_bytes * segment_bytes};
}

}  // namespace cairn::ingest
