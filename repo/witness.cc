#include "repo/witness.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/mark.h"

namespace cairn::repo {
namespace {

enum class Trace {
  there,     // or damaged
  settled,   // another thing, which may honestly be there, lies in its slot
  replaced,  // another snapshot does
  gone,
};

Trace look_for(const Storage& storage, const Keyring& keyring,
               const SeenSnapshot& snapshot) {
  try {
    if (object_digest(storage, snapshot.id) == snapshot.object) {
      return Trace::there;
    }
    const auto slot = read_slot(storage, keyring, snapshot.id);
    return std::holds_alternative<Tombstone>(slot) ? Trace::settled
                                                   : Trace::replaced;
  } catch (const NotFound&) {
    return Trace::gone;
  } catch (const CorruptionError&) {
    return Trace::there;
  } catch (const UnsupportedFormat&) {
    return Trace::there;
  }
}

// What may say why a snapshot is gone. Read after its slot, and in the order in
// which a prune, which works at the same time perhaps, removes and writes: slot
// before mark, doom before either.
class Reasons {
 public:
  Reasons(const Storage& storage, const Keyring& keyring) {
    for (const auto& id : list_marks(storage)) {
      try {
        const Mark mark = read_mark(storage, keyring, id);
        if (mark.action == MarkAction::forget) forgotten_.insert(mark.target);
      } catch (const NotFound&) {
        continue;  // settled since it was listed
      } catch (const CorruptionError&) {
        is_in_doubt_ = true;
      } catch (const UnsupportedFormat&) {
        is_in_doubt_ = true;
      }
    }
    try {
      read_doom(storage, keyring);
    } catch (const UnsupportedFormat&) {
      is_in_doubt_ = true;
    }
  }

  enum class Answer { none, settled, unclear };
  [[nodiscard]] Answer why_gone(const SeenSnapshot& snapshot) const {
    if (forgotten_.contains(snapshot.id) ||
        doom_.is_void(snapshot.id, snapshot.epoch)) {
      return Answer::settled;
    }
    return is_in_doubt_ ? Answer::unclear : Answer::none;
  }

 private:
  void read_doom(const Storage& storage, const Keyring& keyring) {
    const Epoch newest = read_epochs(storage, keyring).newest;
    const auto numbers = list_epochs(storage);
    // One that cannot be read may be the doom that settled it.
    is_in_doubt_ |= !numbers.empty() && numbers.back() > newest.number;
    if (newest.number <= 1) return;
    if (!newest.is_condemnation()) {
      doom_ = LastDoom(newest);
      return;
    }
    try {
      doom_ = LastDoom(read_epoch(storage, keyring, newest.number - 1));
    } catch (const CorruptionError&) {
      note_damaged_doom_before(newest);
    } catch (const NotFound&) {
      note_damaged_doom_before(newest);
    }
  }

  // All that it listed and that was not settled, the condemnation lists too.
  void note_damaged_doom_before(const Epoch& condemnation) {
    Epoch doom;
    doom.number = condemnation.number - 1;
    doom.snapshots = condemnation.snapshots;
    doom_ = LastDoom(doom);
  }

  std::set<SessionId> forgotten_;
  LastDoom doom_;
  bool is_in_doubt_ = false;
};

void compare_snapshots(const Storage& storage, const Keyring& keyring,
                       const LastSeen& seen, Comparison& comparison) {
  std::optional<Reasons> reasons;  // mostly nothing is gone
  for (const auto& [chain, snapshot] : seen.snapshots) {
    switch (look_for(storage, keyring, snapshot)) {
      case Trace::there:
        break;
      case Trace::settled:
        comparison.settled.push_back(snapshot.id);
        break;
      case Trace::replaced:
        comparison.lost.push_back(snapshot);
        break;
      case Trace::gone:
        if (!reasons) reasons.emplace(storage, keyring);
        switch (reasons->why_gone(snapshot)) {
          case Reasons::Answer::none:
            comparison.lost.push_back(snapshot);
            break;
          case Reasons::Answer::settled:
            comparison.settled.push_back(snapshot.id);
            break;
          case Reasons::Answer::unclear:
            break;
        }
        break;
    }
  }
}

void compare_epochs(const Storage& storage, const Keyring& keyring,
                    const LastSeen& seen, Comparison& comparison) {
  try {
    comparison.newest = newest_epoch(storage, keyring);
  } catch (const UnsupportedFormat&) {
    return;  // a newer program's, whose rules are not ours to judge
  }
  const SeenEpoch& newest = comparison.newest;
  const SeenEpoch& known = seen.epoch;
  const bool is_another =
      newest.number == known.number && newest.object != known.object;
  // One that is there and cannot be read was damaged.
  const bool is_gone =
      newest.number < known.number && !storage.size(epoch_name(known.number));
  if (is_another || is_gone) comparison.lost_epoch = known;
}

void compare_generations(const Storage& storage, const Keyring& keyring,
                         const LastSeen& seen, Comparison& comparison) {
  if (keyring.newest().number >= seen.generation) return;
  // Somebody may have renewed the keys since this keyring was opened.
  const auto numbers = list_generations(storage);
  if (numbers.empty() || numbers.back() < seen.generation) {
    comparison.lost_generation = seen.generation;
  }
}

}  // namespace

SeenEpoch newest_epoch(const Storage& storage, const Keyring& keyring) {
  const EpochLog log = read_epochs(storage, keyring);
  return {.number = log.newest.number,
          .object = log.object,
          .time = {log.newest.time.seconds, 0}};
}

Comparison compare(const Storage& storage, const Keyring& keyring,
                   const LastSeen& seen) {
  Comparison comparison;
  compare_snapshots(storage, keyring, seen, comparison);
  compare_epochs(storage, keyring, seen, comparison);
  compare_generations(storage, keyring, seen, comparison);
  return comparison;
}

Witness::Witness(HostState host, std::string place)
    : host_(std::move(host)), place_(std::move(place)) {}

Comparison Witness::compare(const Storage& storage, const Keyring& keyring) {
  const auto seen = host_.last_seen(place_);
  Comparison comparison =
      repo::compare(storage, keyring, seen.value_or(LastSeen{}));
  saw(comparison.newest);
  saw_generation(keyring.newest().number);
  gone_ = comparison.settled;
  return comparison;
}

std::optional<Comparison> Witness::compare_with_other_places(
    const Storage& storage, const Keyring& keyring) const {
  if (host_.last_seen(place_)) return std::nullopt;
  for (const auto& seen : host_.last_seen_elsewhere(place_)) {
    auto comparison = repo::compare(storage, keyring, seen);
    if (comparison.shows_less()) return comparison;
  }
  return std::nullopt;
}

void Witness::accept(const Comparison& comparison) {
  if (comparison.lost_epoch) accepted_epoch_ = comparison.newest;
  if (comparison.lost_generation) {
    accepted_generation_ = learned_.generation;
  }
  for (const auto& snapshot : comparison.lost) gone_.push_back(snapshot.id);
}

void Witness::remember() {
  host_.change_last_seen(place_, [&](LastSeen& seen) {
    for (const auto& id : gone_) seen.forget(id);
    if (accepted_epoch_) seen.epoch = *accepted_epoch_;
    if (accepted_generation_) seen.generation = *accepted_generation_;
    seen.note(learned_);
  });
}

}  // namespace cairn::repo
