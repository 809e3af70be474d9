// What a prune moves into new packs, pass after pass: all that the plan of a
// pass says, or nothing of it, since old packs may lean on one another. Once
// the disk was full, each pass moves as much as there is room for, in what the
// pass before it gave back; nothing, where old packs wait in the trash, which
// gives nothing back.
//
//   plan with limits() --> move() --> packs go --> count_pass()
//     ^                                               | another is worth it
//     +-----------------------------------------------+
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "repo/progress.h"
#include "repo/prune_plan.h"
#include "repo/repository.h"

namespace cairn::repo {

// Of one pass.
struct Moves {
  std::vector<PackId> written;      // new packs, of all that was to move
  std::vector<PackId> needless;     // of an attempt that found no room
  std::uint64_t written_bytes = 0;  // of packs, of both
  std::uint64_t moved_bytes = 0;    // of blobs, by the last attempt
  std::size_t indexes = 0;          // index objects written
  bool is_done = true;  // false: the last attempt found no room either
};

// Threads        one thread at a time.
// Abandonment    packs already written stay, and nothing needs them.
class PruneMover {
 public:
  // `session` is in the index objects that it writes. Calls `step` before each
  // old pack; what that throws is passed on.
  PruneMover(Repository& repository, const PruneOptions& options,
             const SessionId& session, std::function<void()> step,
             Progress* progress);

  // Of the plan of the next pass: what those before it left of the budget, and
  // what the disk has room for.
  [[nodiscard]] PruneOptions limits() const;

  [[nodiscard]] Moves move(const PrunePlan& plan);

  // Whether it moved blobs of that pack, or tried to.
  [[nodiscard]] bool has_moved(const PackId& old) const {
    return moved_.contains(old);
  }

  // Whether that is a new pack of an attempt that found no room.
  [[nodiscard]] bool is_needless(const PackId& pack) const {
    return needless_.contains(pack);
  }

  // A pass with room for less than it wanted is over; it made room by removing
  // so many bytes of packs. True: another one moves more.
  [[nodiscard]] bool count_pass(const Moves& moves,
                                std::uint64_t removed_bytes);

  // So many bytes, about, are missing for the least that did not move of what
  // the last pass planned.
  [[nodiscard]] std::uint64_t room_missing(const PrunePlan& plan) const;

 private:
  void try_by_the_reserve(const PrunePlan& plan, Moves& moves);
  bool try_to_move(const PrunePlan& plan, Moves& moves);
  [[nodiscard]] std::unique_ptr<StagedObject> hold_back(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t bytes_after_packs(const PrunePlan& plan) const;

  Repository& repository_;
  Storage& storage_;
  const PruneOptions options_;
  const SessionId session_;
  const std::function<void()> step_;
  Progress* progress_;
  std::set<PackId> moved_;
  std::set<PackId> needless_;
  std::uint64_t moved_bytes_ = 0;  // of blobs, in all passes
  // Once the disk ran full: so many bytes of blobs may have room, beside what
  // was held back when that was seen.
  std::optional<std::uint64_t> room_;
  std::uint64_t held_back_ = 0;
};

}  // namespace cairn::repo
