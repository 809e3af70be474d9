#include "repo/prune_moves.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "crypto/random.h"
#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/index_object.h"
#include "repo/repacker.h"

namespace cairn::repo {
namespace {

// One in so many bytes of a new pack, at most: it is padded, and has a
// directory.
constexpr std::uint64_t kPadding = 8;

}  // namespace

PruneMover::PruneMover(Repository& repository, const PruneOptions& options,
                       const SessionId& session, std::function<void()> step,
                       Progress* progress)
    : repository_(repository),
      storage_(repository.storage()),
      options_(options),
      session_(session),
      step_(std::move(step)),
      progress_(progress) {}

PruneOptions PruneMover::limits() const {
  PruneOptions limits = options_;
  if (limits.budget) *limits.budget -= std::min(*limits.budget, moved_bytes_);
  limits.room = room_;
  return limits;
}

// What had no room gets another plan, for as much as there is room for.
Moves PruneMover::move(const PrunePlan& plan) {
  Moves moves;
  if (plan.repacked.packs == 0) return moves;
  if (room_ || !try_to_move(plan, moves)) {
    give_reserve(storage_);
    if (options_.trash.count() > 0) {
      room_ = 0;
      moves.is_done = false;
    } else {
      try_by_the_reserve(plan, moves);
    }
  }
  if (moves.is_done) moved_bytes_ += moves.moved_bytes;
  return moves;
}

void PruneMover::try_by_the_reserve(const PrunePlan& plan, Moves& moves) {
  moves.moved_bytes = 0;
  held_back_ = bytes_after_packs(plan);
  const auto held = hold_back(held_back_);
  moves.is_done = held && try_to_move(plan, moves);
  if (moves.is_done) return;
  // Not all of what it moved has room together with padding and directories.
  // Less each time makes an end also where a disk is only full once it is asked
  // to keep what it took.
  room_ = room_ ? std::min(moves.moved_bytes, *room_ / 4 * 3)
                : moves.moved_bytes - moves.moved_bytes / kPadding;
}

// False: the disk is full.
bool PruneMover::try_to_move(const PrunePlan& plan, Moves& moves) {
  IndexBatch index(storage_, repository_.keyring(), repository_.signer(),
                   session_);
  Repacker repacker(repository_, index, progress_);
  bool is_whole = true;
  try {
    // All that moves was verified.
    index.begin(Assurance::for_everyone());
    for (const auto& pack : plan.packs) {
      if (pack.verdict.fate != PackFate::repack) continue;
      step_();
      repacker.move(pack.id, pack.verdict.moved);
      moved_.insert(pack.id);
    }
    repacker.finish();
    index.finish();
  } catch (const OutOfSpace&) {
    is_whole = false;
  }
  moves.moved_bytes = repacker.bytes_moved();
  for (const auto& pack : repacker.written()) {
    (is_whole ? moves.written : moves.needless).push_back(pack.id);
    if (!is_whole) needless_.insert(pack.id);
    moves.written_bytes += pack.size;
  }
  moves.indexes += index.published().size();
  return is_whole;
}

// So much of the disk, for as long as it lives; null: there is not so much.
// Else new packs could fill the disk to the last byte, with no room for what
// makes the old ones go.
std::unique_ptr<StagedObject> PruneMover::hold_back(std::uint64_t bytes) {
  std::array<std::byte, 4096> noise;  // which no file system compresses
  try {
    auto held = storage_.stage();
    while (bytes > 0) {
      const auto part = std::span(noise).first(static_cast<std::size_t>(
          std::min<std::uint64_t>(noise.size(), bytes)));
      crypto::fill_random(part);
      held->append(part);
      bytes -= part.size();
    }
    return held;
  } catch (const OutOfSpace&) {
    return nullptr;
  }
}

// What a pass writes once its packs are written, at most: two epochs, and the
// index without the packs that go.
std::uint64_t PruneMover::bytes_after_packs(const PrunePlan& plan) const {
  constexpr std::uint64_t kEpochBytes = 8192;
  constexpr std::uint64_t kPackBytes = 48;
  constexpr std::uint64_t kRootBytes = 17;
  std::uint64_t bytes = 2 * (kEpochBytes + kPackBytes * plan.packs.size() +
                             kRootBytes * plan.roots.size());
  auto indexes = read_index_contents(storage_, repository_.keyring());
  // The one of the new packs, of rows that others have by now.
  indexes.emplace_back().assurance = Assurance::for_everyone();
  std::vector<PackId> remaining;
  for (const auto& pack : plan.packs) {
    if (pack.verdict.fate == PackFate::keep) remaining.push_back(pack.id);
  }
  for (const auto& id : plan_index_change(indexes, remaining).removed) {
    bytes += storage_.size(index_name(id)).value_or(0);
  }
  return bytes;
}

bool PruneMover::count_pass(const Moves& moves, std::uint64_t removed_bytes) {
  // Every pass reads all links. What frees no more than a fourth of what is
  // moved for it waits for another prune.
  constexpr std::uint64_t kWorth = 4;
  const std::uint64_t freed =
      removed_bytes - std::min(removed_bytes, moves.written_bytes);
  room_ = room_.value_or(0) + freed;
  return !moves.is_done || freed > moves.moved_bytes / kWorth;
}

// Rather too much: what an attempt moved tells the room only to within what a
// storage takes before it asks the disk, and that of the next attempt has to be
// as much again and the share of padding.
std::uint64_t PruneMover::room_missing(const PrunePlan& plan) const {
  constexpr std::uint64_t kTakenUnasked = std::uint64_t{512} << 10;
  const std::uint64_t least = plan.least_beyond_room.value_or(0);
  const std::uint64_t beyond = least - std::min(least, room_.value_or(0));
  return beyond + beyond / kPadding + least / kPadding + kTakenUnasked +
         held_back_;
}

}  // namespace cairn::repo
