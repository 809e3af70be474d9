// From where to where a cluster can be recovered: what base backups and WAL
// together reach, by places in WAL alone.
//
//   timeline 1   ===base===.........WAL.........|     a window: from the end of
//                                     \               a base to the end of WAL
//   timeline 2                         ....WAL....|   without a gap; its path
//                                                     is 1, then 2
//
// Pure functions of records; what moments these places are of stands in WAL
// (recovery_wal.h).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/wal_archive.h"
#include "repo/repository.h"

namespace cairn::ingest {

// A base backup, as its facts tell of it (FORMAT.md, 6.8.1).
struct RecoveryBase {
  const repo::ValidSnapshot* snapshot = nullptr;
  std::uint64_t system = 0;
  std::uint32_t timeline = 0;
  Lsn start;
  Lsn end;  // from here on it is consistent
  // By the server's clock, when `end` was passed.
  std::optional<repo::Timestamp> end_time;
  std::uint64_t segment_bytes = 0;
  std::string version;
  bool is_of_standby = false;

  // What is in its own pg_wal, from the beginning of a segment on. A primary
  // fills the segment in which a backup ends.
  [[nodiscard]] WalReader::Range own_wal() const;
};

struct RecoveryCluster {
  std::uint64_t system = 0;
  std::uint64_t segment_bytes = 0;
  std::vector<RecoveryBase> bases;  // by end
  std::vector<StoredWal> wal;       // by stream
  // Bases that have lost files, or do not tell what a recovery needs to know.
  std::uint64_t unknown_bases = 0;

  // All that are spoken of, ascending.
  [[nodiscard]] std::vector<std::uint32_t> timelines() const;
  // What `wal` has of a timeline, without those that touch or overlap.
  [[nodiscard]] std::vector<WalReader::Range> stored(
      std::uint32_t timeline) const;
};

// Those in a series and the one with its WAL, by system identifier. Borrows
// `snapshots`; passes over those whose records this role cannot read.
[[nodiscard]] std::vector<RecoveryCluster> find_clusters(
    std::span<const repo::ValidSnapshot> snapshots,
    const repo::SeriesTag& bases, const repo::SeriesTag& wal);

// How a server comes to a timeline: oldest first, the last one without an end.
struct PathStep {
  static constexpr Lsn kNoEnd{std::numeric_limits<std::uint64_t>::max()};

  std::uint32_t timeline = 0;
  Lsn begin;  // where it branched off
  Lsn end = kNoEnd;

  bool operator==(const PathStep&) const = default;
};
using RecoveryPath = std::vector<PathStep>;

// `history` is the timeline history file. Throws repo::CorruptionError for one
// that is none.
[[nodiscard]] RecoveryPath path_to(std::uint32_t timeline,
                                   std::string_view history);

// Which timelines' files a server looks for that wants the segment with that
// byte, in its order: the newest one first.
[[nodiscard]] std::vector<PathStep> steps_for(const RecoveryPath& path, Lsn lsn,
                                              std::uint64_t segment_bytes);

// True if a server that goes this path may begin with that base.
[[nodiscard]] bool is_on_path(const RecoveryPath& path,
                              const RecoveryBase& base);

struct RecoveryWindow {
  Lsn begin;                               // the end of its first base
  Lsn end;                                 // of WAL without a gap
  std::vector<const RecoveryBase*> bases;  // by end
};

struct RecoveryRange {
  std::vector<RecoveryWindow> windows;  // ascending
  // WAL behind the last window that no base leads to.
  std::optional<WalReader::Range> stranded;
};

// Borrows the bases of `cluster`.
[[nodiscard]] RecoveryRange range_of(const RecoveryCluster& cluster,
                                     const RecoveryPath& path);

}  // namespace cairn::ingest
