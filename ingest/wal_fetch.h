// Gives a recovering server the files of pg_wal that it asks for, out of what
// is stored and what lies in the spool of this host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ingest/wal_archive.h"
#include "ingest/wal_file.h"
#include "ingest/wal_push.h"
#include "repo/repository.h"
#include "repo/snapshot.h"

namespace cairn::ingest {

// What is there of one cluster's WAL in one series.
//
// Threads        one thread at a time.
// Failure        whatever is wrong with the repository. That something is not
//                there is an answer, and certain: where that cannot be told,
//                since a snapshot cannot be read say, it is CorruptionError or
//                NotFound instead.
class WalFetch {
 public:
  struct Where {
    std::string series;  // "HOST/pg/wal"
    // Nothing: the only one that the series has WAL of.
    std::optional<std::uint64_t> system;
    // Of all clusters of that series on this host; a folder for each.
    std::filesystem::path spools;
  };

  // Borrows both, which must outlive it. Throws NotFound where the series has
  // no WAL of that cluster, or of several and none was named.
  WalFetch(repo::Repository& repository, const repo::SnapshotList& list,
           const Where& where);

  [[nodiscard]] std::uint64_t system() const noexcept { return system_; }
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept {
    return segment_bytes_;
  }

  // Bytes of that segment that can be had, from its beginning on; 0: it is
  // certainly absent. Requires: it is a segment.
  [[nodiscard]] std::uint64_t available(const WalFileName& name);

  // Calls `use` with all of what is available, piece by piece.
  using Use = std::function<void(std::span<const std::byte> piece)>;
  void read(const WalFileName& name, const Use& use);

  // Those behind it on its timeline of which all is stored, at most so many.
  [[nodiscard]] std::vector<WalFileName> following(const WalFileName& name,
                                                   std::size_t most);

  // What is missing between the WAL before that segment and WAL behind it,
  // which is there. Nothing: there is none behind it.
  [[nodiscard]] std::optional<WalReader::Range> gap_at(const WalFileName& name);

  // Nothing: there is certainly none.
  [[nodiscard]] std::optional<std::string> history(std::uint32_t timeline);

 private:
  [[nodiscard]] Lsn begin_of(const WalFileName& name) const;
  [[nodiscard]] std::uint64_t stored(const WalFileName& name) const;
  [[nodiscard]] std::optional<SpooledSegment> spooled(
      const WalFileName& name) const;
  void require_certainty() const;

  const std::filesystem::path spools_;
  std::uint64_t system_ = 0;
  std::uint64_t segment_bytes_ = 0;
  std::string uncertainty_;  // why absence is not certain; empty: it is
  std::optional<WalReader> reader_;
};

}  // namespace cairn::ingest
