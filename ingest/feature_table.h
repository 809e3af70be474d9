// Which chunks of a series have which features (chunker/features.h), so that a
// new chunk finds the stored one that it resembles (DESIGN, section 4).
//
//   feature ----> number of a lineage
//   number -----> the lineage: features and id of its newest state, and the
//                 states that this one leans on
//
// A lineage is a chunk with all that came of it, state by state. Leaning each
// state on the one before would give the smallest differences and chains
// without end. So states are counted. Of seven in a row, each leans on the one
// before it but the fifth:
//
//   0 <- 1 <- 2 <- 3
//        ^
//        4 <- 5 <- 6
//
// and their first ones, 0, 7, 14 .., are skip-deltas of base four: state 7k
// leans on 7 (k less the largest power of four that divides k).
//
//   0 <- 7 <- 14 <- 21     28 <- 35 ..     112 ..
//   ^----------------------'               |
//   ^--------------------------------------'
//
// So state 60 is some four decodings away (docs/decisions/0012).
//
// A table holds chunks of one series only, and bases are looked for nowhere
// else, so that no series learns from the sizes of another one's differences.
// Everything here is a cache: losing it costs space in the next backup, unless
// the table is learned anew (learn_features.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "repo/ids.h"
#include "repo/index_store.h"
#include "repo/snapshot.h"

namespace cairn::ingest {

using LineageNumber = std::uint32_t;

// One state of a lineage: a stored chunk.
struct LineageState {
  std::uint32_t number = 0;  // 0 leans on nothing
  repo::BlobId id;

  bool operator==(const LineageState&) const = default;
};

struct Lineage {
  std::vector<std::uint64_t> features;  // of the newest state
  std::vector<LineageState> states;     // the newest, and what that leans on

  bool operator==(const Lineage&) const = default;
};

// Where a chunk that is being stored comes from.
struct Descent {
  std::optional<LineageNumber> lineage;  // nothing: of no known one
  std::vector<std::uint64_t> features;   // of that lineage so far
  std::uint32_t number = 0;              // of its own state
  std::vector<LineageState> bases;       // what it leans on, the nearest first
};

// Threads        find(), descent_from() and is_there() from many threads; the
//                others one thread at a time.
// Failure        none: what cannot be read resembles nothing, and what cannot
//                be written is not known the next time.
class FeatureTable {
 public:
  // Borrows the store.
  FeatureTable(repo::IndexStore& store, const repo::SeriesTag& series);

  // False: it was never flushed.
  [[nodiscard]] bool is_there() const noexcept { return is_there_; }

  // The lineages that share most of the features, in this order, and of equals
  // the newest first: kMaxSimilar at most, and only one when it is found that
  // these are its next state.
  static constexpr std::size_t kMaxSimilar = 3;
  [[nodiscard]] std::vector<LineageNumber> find(
      std::span<const std::uint64_t> features) const;

  // How a new state of that lineage descends; bases.front() is what it is to
  // lean on. Nothing: the lineage cannot be read.
  [[nodiscard]] std::optional<Descent> descent_from(LineageNumber number) const;

  // True if a chunk with these features is the next state of what descends so,
  // and not a part of it that goes its own way.
  [[nodiscard]] static bool is_next_state(
      const Descent& descent, std::span<const std::uint64_t> features);

  // Keeps in mind a chunk that is being stored; find() does not see it yet.
  // It continues its lineage if it has most of its features from there, and no
  // other chunk of this run does so already; else it begins one.
  void remember(const repo::BlobId& id, const Descent& descent,
                std::span<const std::uint64_t> features);
  [[nodiscard]] std::size_t pending_bytes() const noexcept {
    return pending_bytes_;
  }

  // Writes what remember() was told. Under the store's lock.
  void flush(repo::IndexStore::Writer& writer);

  // Forgets lineages no state of which is stored any more, as `is_stored` says,
  // once there are many more than when that was last done.
  using IsStored = std::function<bool(const repo::BlobId&)>;
  void drop_what_is_gone(repo::IndexStore::Writer& writer,
                         const IsStored& is_stored);

 private:
  struct Pending {
    std::optional<LineageNumber> continues;
    Lineage lineage;
    std::vector<std::uint64_t> new_features;
  };
  // The records of lineages whose numbers are alike but for the last byte. A
  // stream that goes on as it did asks for one after another; to read all of
  // them at once costs as much as to look up thirty.
  struct Shelf {
    LineageNumber first = 0;
    unsigned asked = 0;
    std::vector<std::string> records;  // by number; empty: there is none
  };
  [[nodiscard]] std::string key_of(char kind, std::uint64_t value,
                                   std::size_t bytes) const;
  [[nodiscard]] std::optional<Lineage> lineage(LineageNumber number) const;
  // Nothing: ask the store. Empty: there is no such record.
  [[nodiscard]] std::optional<std::string> on_shelf(LineageNumber number) const;

  repo::IndexStore& store_;
  std::string prefix_;  // of the series, behind the kind
  std::atomic<bool> is_there_ = false;
  std::vector<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  std::unordered_set<LineageNumber> continued_;  // in this run
  mutable std::mutex shelves_mutex_;
  mutable std::deque<Shelf> shelves_;  // guarded; the latest in front
};

}  // namespace cairn::ingest
