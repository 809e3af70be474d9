// The WAL that a repository holds: which stretches, and their bytes (FORMAT.md,
// 6.8.2).
//
// Several snapshots may hold parts of one timeline: of two receivers, of one
// that began anew, of a flush whose predecessor nobody was allowed to forget.
// Readers take the union.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/wal_name.h"
#include "repo/blob_reader.h"
#include "repo/repository.h"
#include "repo/snapshot.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {

// Facts of a source of kind postgres_wal.
namespace wal_fact {
inline constexpr std::string_view kEndLsn = "end_lsn";
inline constexpr std::string_view kServerVersion = "server_version";
inline constexpr std::string_view kStartLsn = "start_lsn";
inline constexpr std::string_view kSystemIdentifier = "system_identifier";
inline constexpr std::string_view kTimeline = "timeline";
inline constexpr std::string_view kWalSegmentBytes = "wal_segment_bytes";
}  // namespace wal_fact

// What a snapshot says that it holds.
struct StoredWal {
  WalStreamId stream;
  Lsn end;
  std::uint64_t segment_bytes = 0;
  std::string server_version;
  const repo::ValidSnapshot* snapshot = nullptr;
};

// Those of a series, by stream, then end. Borrows `snapshots`; passes over
// those whose records this role cannot read.
[[nodiscard]] std::vector<StoredWal> find_wal(
    std::span<const repo::ValidSnapshot> snapshots,
    const repo::SeriesTag& series);

// From where on WAL of a cluster is needed: where the oldest base backup in
// `bases`, the series beside the one with the WAL, begins. Nothing: there is no
// base, or it cannot be told for all of them; then all is needed.
[[nodiscard]] std::optional<Lsn> oldest_needed_wal(
    std::span<const repo::ValidSnapshot* const> snapshots,
    const repo::SeriesTag& bases, std::uint64_t system);

// Up to where WAL of that timeline is needless: as far as the oldest base of
// the cluster says so, and one of the timeline itself does, or of one that
// forked from it, up to there. Places of timelines that do not descend from
// each other say nothing of each other: a base of this one may be being made.
// `history_of` answers the history file of a timeline, if it is at hand.
// Nothing: all is needed.
using HistoryOf =
    std::function<std::optional<std::string>(std::uint32_t timeline)>;
[[nodiscard]] std::optional<Lsn> end_of_needless_wal(
    std::span<const repo::ValidSnapshot* const> snapshots,
    const repo::SeriesTag& bases, std::uint64_t system, std::uint32_t timeline,
    const HistoryOf& history_of);

// Of which series, given that of WAL; nothing: the name is none of such.
[[nodiscard]] std::optional<std::string> series_of_bases(
    std::string_view wal_series);

// Snapshots whose WAL another one holds too, chunk for chunk from the same
// place on, and that nobody needs therefore: what a receiver left behind that
// may not forget. Whether it is so is read from the lists and not believed. And
// those that end_of_needless_wal() says it of.
struct CoveredWal {
  repo::SessionId covered;
  // Nothing: no base that is there needs any of it.
  std::optional<repo::SessionId> by;
};
[[nodiscard]] std::vector<CoveredWal> find_covered_wal(
    repo::Repository& repository,
    std::span<const repo::ValidSnapshot* const> snapshots);

// Reads what is stored of one cluster in one series.
//
// Threads        one thread at a time.
// Failure        as BlobReader; CorruptionError for a tree that is not what its
//                snapshot says.
class WalReader {
 public:
  // Borrows `repository`; `stored` are of one cluster.
  WalReader(repo::Repository& repository, std::vector<StoredWal> stored);

  struct Range {
    Lsn begin;
    Lsn end;
    auto operator<=>(const Range&) const = default;
  };
  // What is there of a timeline, without those that touch or overlap.
  [[nodiscard]] std::vector<Range> ranges(std::uint32_t timeline) const;

  // As many as are stored from there on, at most out.size(). Answers how many.
  [[nodiscard]] std::size_t read(std::uint32_t timeline, Lsn lsn,
                                 std::span<std::byte> out);

  // The timeline history file; nothing: none is stored.
  [[nodiscard]] std::optional<std::string> history(std::uint32_t timeline);

  // The rows of the stream in that snapshot, which are as long as it says.
  [[nodiscard]] std::vector<repo::Link> rows_of(const StoredWal& stored);

 private:
  struct OpenStream {
    repo::StreamCursor cursor;
    std::optional<repo::StreamCursor::Place> place;
    repo::PlainBlob plain;  // of the chunk at `place`
  };
  // The one that goes on furthest from there. Null: none has that byte.
  [[nodiscard]] const StoredWal* find(std::uint32_t timeline, Lsn lsn) const;
  [[nodiscard]] OpenStream& open(const StoredWal& stored);
  std::size_t read_chunk(OpenStream& stream, std::uint64_t offset,
                         std::span<std::byte> out);

  repo::Repository& repository_;
  std::vector<StoredWal> stored_;  // by stream
  repo::BlobReader blobs_;
  repo::TreeReader trees_;
  std::map<repo::SessionId, OpenStream> open_;
};

}  // namespace cairn::ingest
