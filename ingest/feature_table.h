// Which chunks of a series have which features (chunker/features.h), so that a
// new chunk finds the stored one that it resembles (DESIGN, section 4).
//
//   feature ----> number of the newest chunk that has it
//   number -----> the chunk's id, its state in its lineage, its base's number
//
// A lineage is a chunk with all that came of it, state by state. Leaning each
// state on the one before would give the smallest differences and chains
// without end. So states are numbered, and state n leans on n less the largest
// power of four that divides it, as skip-deltas of version control do:
//
//   0 <- 1 <- 2 <- 3     4 <- 5 <- 6 <- 7     8 ..     16 ..
//   ^--------------------'                    |        |
//                        ^--------------------'        |
//   ^--------------------------------------------------'
//
// A table holds chunks of one series only, and bases are looked for nowhere
// else, so that no series learns from the sizes of another one's differences.
// Everything here is a cache: losing it costs space in the next backup, unless
// the table is learned anew (learn_features.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "repo/ids.h"
#include "repo/index_store.h"
#include "repo/snapshot.h"

namespace cairn::ingest {

// How a chunk that was stored hangs together with others of its series.
struct Descent {
  std::uint32_t state = 0;            // in its lineage; 0 has no base
  std::optional<std::uint32_t> base;  // number of the chunk it was written to

  bool operator==(const Descent&) const = default;
};

// Threads        find() and base_for() from many threads; the others one thread
//                at a time.
// Failure        none: what cannot be read resembles nothing, and what cannot
//                be written is not known the next time.
class FeatureTable {
 public:
  using Number = std::uint32_t;

  // Borrows the store.
  FeatureTable(repo::IndexStore& store, const repo::SeriesTag& series);

  // False: nothing was ever remembered here.
  [[nodiscard]] bool is_there() const noexcept { return next_number_ > 0; }

  // The stored chunks that have most of the features, in this order, and of
  // equals the newest first: kMaxSimilar at most, and only one when the first
  // features leave little doubt.
  static constexpr std::size_t kMaxSimilar = 3;
  [[nodiscard]] std::vector<Number> find(
      std::span<const std::uint64_t> features) const;

  // What a new state of that chunk's lineage is to lean on.
  struct Base {
    repo::BlobId id;
    Descent descent;  // of who leans on it
  };
  [[nodiscard]] std::optional<Base> base_for(Number similar) const;

  // Keeps in mind a chunk that is being stored; find() does not see it yet.
  void remember(const repo::BlobId& id, const Descent& descent,
                std::span<const std::uint64_t> features);
  [[nodiscard]] std::size_t pending_bytes() const noexcept {
    return pending_.size() * sizeof(Pending) +
           pending_features_.size() * sizeof(std::uint64_t);
  }

  // Writes what remember() was told. Under the store's lock.
  void flush(repo::IndexStore::Writer& writer);

  // Forgets chunks of which `is_stored` says no, once the table has grown a
  // good deal since that was last done.
  using IsStored = std::function<bool(const repo::BlobId&)>;
  void drop_what_is_gone(repo::IndexStore::Writer& writer,
                         const IsStored& is_stored);

 private:
  struct Record {
    repo::BlobId id;
    Descent descent;
  };
  struct Pending {
    Record record;
    std::size_t features_end = 0;  // in pending_features_
  };
  [[nodiscard]] std::string key_of(char kind, std::uint64_t value,
                                   std::size_t bytes) const;
  [[nodiscard]] std::optional<Record> record_of(Number number) const;

  repo::IndexStore& store_;
  std::string prefix_;  // of the series, behind the kind
  Number next_number_ = 0;
  std::vector<Pending> pending_;
  std::vector<std::uint64_t> pending_features_;
};

}  // namespace cairn::ingest
