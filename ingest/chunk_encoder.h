// The workers' part of a backup: names chunks, finds out which are new, and
// encodes those.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_set>

#include "chunker/features.h"
#include "ingest/batch.h"
#include "ingest/feature_table.h"
#include "repo/blob_codec.h"
#include "repo/blob_reader.h"
#include "repo/progress.h"
#include "repo/raw_bytes.h"
#include "repo/repository.h"
#include "repo/reusable_blobs.h"

namespace cairn::ingest {

// Blobs that this run has taken upon itself to store and that the index does
// not know yet, so that two workers do not encode the same chunk.
//
// Threads        all members from many threads.
class ClaimedBlobs {
 public:
  // False: somebody has it already.
  [[nodiscard]] bool claim(const repo::BlobId& id);
  void now_indexed(const repo::IndexedPack& pack);

 private:
  std::mutex mutex_;  // guards claimed_
  std::unordered_set<repo::BlobId, repo::IdHash> claimed_;
};

struct ChunkCounts {
  std::atomic<std::uint64_t> chunks = 0;
  std::atomic<std::uint64_t> chunks_new = 0;
  std::atomic<std::uint64_t> bytes_new = 0;
  std::atomic<std::uint64_t> differences = 0;
};

// Threads        one thread at a time; each worker has its own, and shares what
//                it borrows.
class ChunkEncoder {
 public:
  ChunkEncoder(repo::Repository& repository, repo::ReusableBlobs& reusable,
               repo::SessionKeys& keys, const repo::CompressionLevels& levels,
               const FeatureTable& table, ClaimedBlobs& claimed,
               ChunkCounts& counts, repo::Progress& progress);

  // Fills in what the batch's chunks lack.
  void encode(Batch& batch);

 private:
  // A stored chunk that a new one may lean on.
  struct LoadedBase {
    repo::Base base;
    repo::RawBytes plain;  // what base.plain points into
    Descent descent;       // of who leans on it
  };
  // Loads them one after another, as they are asked for.
  class Bases;

  // A chunk of the stream that was stored whole, for those that follow it.
  struct Neighbour {
    repo::BlobId id;
    repo::MemorySum id_sum;
    std::span<const std::byte> plain;  // in the batch's buffer
    unsigned part = 0;
    unsigned leaning = 0;  // how many lean on it
  };
  // Nothing: no such base.
  [[nodiscard]] std::optional<repo::Base> base_before(const Chunk& chunk) const;

  void name_chunks(Batch& batch);
  void encode(Chunk& chunk);
  void encode_new(Chunk& chunk);
  // Of one that was encoded: repo::require_unchanged().
  void require_unchanged(const Chunk& chunk);

  // What the next state of a lineage should lean on, for a chunk of so many
  // bytes: states that are not stored, since their run was interrupted or their
  // snapshots are forgotten, are passed by. False: it can lean on nothing
  // there.
  [[nodiscard]] bool load_base(Descent descent, std::size_t plain_size,
                               LoadedBase& loaded);

  const repo::Keyring& keyring_;
  repo::ReusableBlobs& reusable_;
  repo::BlobReader blobs_;
  repo::BlobEncoder encoder_;
  crypto::Recogniser recogniser_;
  chunker::FeatureExtractor extractor_;
  const FeatureTable& table_;
  // The lineage after that of the last chunk. Lineages have numbers in the
  // order of the stream that began them, so that its later states mostly find
  // them so, and look up no features.
  std::optional<LineageNumber> expected_;
  std::optional<Neighbour> neighbour_;
  std::array<LoadedBase, 1 + FeatureTable::kMaxSimilar> loaded_;  // are reused
  ClaimedBlobs& claimed_;
  ChunkCounts& counts_;
  repo::Progress& progress_;
  bool can_read_content_;
  bool is_first_backup_;  // of the series, as far as is known
};

}  // namespace cairn::ingest
