#include "repo/prune.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "crypto/random.h"
#include "repo/config.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/index_batch.h"
#include "repo/index_object.h"
#include "repo/mark.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune_moves.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "repo/storage_probe.h"

namespace cairn::repo {
namespace {

class Collector {
 public:
  Collector(Repository& repository, const PruneOptions& options,
            const Timestamp& now, const PruneDialogue& dialogue,
            std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        options_(options),
        now_(now),
        dialogue_(dialogue),
        stop_(std::move(stop)),
        progress_(progress),
        session_{crypto::random_array<SessionId::kBytes>()},
        mover_(
            repository, options, session_, [this] { step("moving blobs"); },
            progress) {}

  PruneOutcome run() {
    with_reserve([&] { fence_dead(); });
    storage_.remove_unfinished();
    while (true) {
      EpochLog log = read_epochs(storage_, repository_.keyring());
      Mends mends = Mends::nothing;
      if (log.last != log.newest.number) {
        // What cannot be read condemns and dooms nothing: what it would have is
        // found anew by the pass after it.
        mends = Mends::the_log;
        log.newest.number = log.last;
        log.newest.condemned.clear();
      }
      if (make_pass(log.newest, mends) == Pass::is_over) break;
    }
    tidy_sessions();
    return std::move(outcome_);
  }

 private:
  enum class Pass {
    is_over,  // nothing more to do, or nothing more that can be done now
    next,     // look again: others were quicker, or a pass of theirs is done
  };

  enum class Mends { nothing, the_log };

  void step(std::string_view what) {
    if (stop_.stop_requested()) throw Cancelled("prune: interrupted");
    if (progress_ != nullptr) progress_->set_current(what);
  }

  // What is missing may have gone with the pass of another prune.
  Pass make_pass(const Epoch& epoch, Mends mends) {
    const auto unless_others_went_on = [&] {
      if (is_newest(storage_, repository_.keyring(), epoch.number)) throw;
      return Pass::next;
    };
    try {
      return epoch.is_condemnation() ? finish(epoch, nullptr)
                                     : begin_after(epoch, mends);
    } catch (const NotFound&) {
      return unless_others_went_on();
    } catch (const CorruptionError&) {
      return unless_others_went_on();
    }
  }

  // That number exists, unless what has its name is no epoch at all.
  Pass others_were_first(const Epoch& epoch) {
    if (read_epochs(storage_, repository_.keyring()).last < epoch.number) {
      throw CorruptionError(epoch_name(epoch.number) +
                            ": is taken by something that is no epoch; remove "
                            "it and prune again");
    }
    return Pass::next;
  }

  // A full disk must keep nobody from making room.
  template <typename Write>
  std::invoke_result_t<Write> with_reserve(Write write) {
    try {
      return write();
    } catch (const OutOfSpace&) {
      give_reserve(storage_);
    }
    return write();
  }

  // Only where two cannot both take a slot.
  void fence_dead() {
    if (find_dead_sessions(storage_, repository_.keyring(), now_,
                           options_.revoke_after)
            .empty()) {
      return;
    }
    if (!create_race_) create_race_ = probe_create_race(storage_);
    outcome_.can_fence = *create_race_ == CreateRace::one_wins;
    if (!outcome_.can_fence) return;
    outcome_.sessions_fenced +=
        fence_dead_sessions(storage_, repository_.keyring(),
                            repository_.signer(), now_, options_.revoke_after);
  }

  // What a pass that this process began is made of.
  struct OwnPass {
    PrunePlan plan;
    std::vector<IndexId> indexes;  // whose word the plan rests on
    Moves moves;
  };

  bool plan_after(const Epoch& epoch, OwnPass& own);
  Pass begin_after(const Epoch& epoch, Mends mends);
  Pass finish(const Epoch& condemnation, const OwnPass* own);

  void move(OwnPass& own);
  Pass after_pass(const OwnPass& own, std::uint64_t gone);
  [[nodiscard]] static std::vector<PackId> what_goes(const OwnPass& own);
  [[nodiscard]] std::vector<std::string> older_sessions(
      const Epoch& condemnation) const;
  bool wait_for_sessions_before(const Epoch& condemnation);
  [[nodiscard]] bool has_just_the_packs_of(const OwnPass& own,
                                           const Epoch& condemnation) const;

  // Removal: of what `doom` dooms, and only while it is the newest epoch, since
  // this process does not know what a later one decides. False: it is not.
  bool may_remove(const Epoch& doom, std::string_view what);
  bool carry_out(const Epoch& doom, const PrunePlan* plan);
  bool remove_pack(const Epoch& doom, const PackId& id, PackSum& sum);
  bool change_index(const Epoch& doom);
  std::optional<IndexChange> write_new_index(const Epoch& doom);
  void settle(const Epoch& doom, const PrunePlan& first,
              const PrunePlan& second);
  bool settle_slots(const Epoch& doom, std::span<const SessionId> slots);
  bool settle_marks(const Epoch& doom, const PrunePlan& plan);
  void remove_old_epochs(const Epoch& doom);
  void remove_epochs_before(std::uint64_t number);
  void tidy_sessions();

  Repository& repository_;
  Storage& storage_;
  const PruneOptions options_;
  const Timestamp now_;
  const PruneDialogue& dialogue_;
  std::stop_token stop_;
  Progress* progress_;
  const SessionId session_;  // in the index objects that this run writes
  PruneMover mover_;
  std::set<IndexId> replaced_;             // index objects that this run merged
  std::set<IndexId> published_;            // into those
  std::optional<CreateRace> create_race_;  // of the storage; once it is needed
  bool is_agreed_ = false;
  bool has_told_ = false;  // what it waits for
  PruneOutcome outcome_;
};

// Plans, and removes what a prune before this one doomed and did not live to
// remove, or left in the trash. In that order: where a snapshot lacks anything
// without it, all of it stays, for `repair packs` to take out what is needed.
// False: another epoch is the newest by now.
bool Collector::plan_after(const Epoch& epoch, OwnPass& own) {
  const auto plan = [&] {
    own.indexes = list_indexes(storage_);
    own.plan = plan_prune(repository_, mover_.limits(), now_, stop_, progress_);
  };
  try {
    with_reserve(plan);
  } catch (const OutOfSpace&) {
    // Nothing else makes room for the look at what is there.
    if (!carry_out(epoch, nullptr)) return false;
    plan();
    return true;
  }
  replaced_.clear();
  published_.clear();
  if (!carry_out(epoch, nullptr)) return false;
  // What this run says anew in place of others is what the plan rests on.
  std::erase_if(own.indexes,
                [&](const IndexId& id) { return replaced_.contains(id); });
  own.indexes.insert(own.indexes.end(), published_.begin(), published_.end());
  return true;
}

Collector::Pass Collector::begin_after(const Epoch& epoch, Mends mends) {
  OwnPass own;
  if (!plan_after(epoch, own)) return Pass::next;
  const PrunePlan& plan = own.plan;
  if (!std::exchange(is_agreed_, true) && dialogue_.decide &&
      dialogue_.decide(plan) == Proceed::no) {
    return Pass::is_over;
  }
  if (!is_newest(storage_, repository_.keyring(), epoch.number)) {
    return Pass::next;
  }
  move(own);
  outcome_.ran_out_of_space = !own.moves.is_done || plan.least_beyond_room;

  Epoch condemnation;
  condemnation.number = epoch.number + 1;
  condemnation.time = now_;
  condemnation.condemned = what_goes(own);
  for (const auto& pack : epoch.doomed) {
    if (storage_.size(pack_name(pack.id))) condemnation.doomed.push_back(pack);
  }
  condemnation.snapshots = plan.roots;
  if (condemnation.condemned.empty() && plan.slots.empty() &&
      mends == Mends::nothing) {
    (void)(change_index(epoch) && settle_marks(epoch, plan));
    return after_pass(own, 0);
  }
  step("condemning packs");
  const auto publish = [&] {
    return publish_epoch(storage_, repository_.keyring(), repository_.signer(),
                         condemnation);
  };
  Created created = Created::exists;
  try {
    created = publish();
  } catch (const OutOfSpace&) {
    // Whoever this pass had to wait for would fill the reserve meanwhile, and
    // the doom found no room.
    outcome_.waits_for = older_sessions(condemnation);
    if (!outcome_.waits_for.empty()) return Pass::is_over;
    give_reserve(storage_);
    created = publish();
  }
  if (created == Created::exists) return others_were_first(condemnation);
  return finish(condemnation, &own);
}

// From the condemnation on, also of another prune's pass: then `own` is null.
Collector::Pass Collector::finish(const Epoch& condemnation,
                                  const OwnPass* own) {
  if (!wait_for_sessions_before(condemnation)) return Pass::is_over;

  Epoch doom;
  doom.number = condemnation.number + 1;
  doom.time = now_;
  const auto add = [&](const PackId& id) { doom.doomed.push_back({id, now_}); };
  PrunePlan second = read_roots(repository_, now_);
  doom.snapshots = second.roots;
  // Nobody added anything that could need what was condemned, or took back that
  // what was to stay is sound, as `repair packs` does.
  const bool is_as_planned =
      own != nullptr && own->moves.is_done && own->moves.needless.empty() &&
      has_just_the_packs_of(*own, condemnation) &&
      are_there(storage_, own->indexes) &&
      std::ranges::includes(condemnation.snapshots, second.roots);
  if (is_as_planned) {
    for (const auto& id : condemnation.condemned) add(id);
  } else {
    second = plan_doom(repository_, condemnation, now_, stop_, progress_);
    doom.snapshots = second.roots;
    for (const auto& pack : second.unreadable) add(pack.id);
    for (const auto place : second.removal_order) add(second.packs[place].id);
    for (const auto place : second.last_order) add(second.packs[place].id);
  }
  doom.doomed.insert(doom.doomed.end(), condemnation.doomed.begin(),
                     condemnation.doomed.end());
  step("dooming packs");
  const auto publish = [&] {
    return publish_epoch(storage_, repository_.keyring(), repository_.signer(),
                         doom);
  };
  Created created = Created::exists;
  try {
    created = with_reserve(publish);
  } catch (const OutOfSpace&) {
    // Backups that it waited for filled the reserve. Each old epoch has a
    // block.
    remove_epochs_before(condemnation.number - 1);
    created = publish();
  }
  if (created == Created::exists) return others_were_first(doom);

  const PrunePlan& plan = is_as_planned ? own->plan : second;
  const auto gone = [&] {
    return outcome_.removed.bytes + outcome_.repacked.bytes;
  };
  const std::uint64_t before = gone();
  if (!carry_out(doom, &plan)) return Pass::next;
  if (own == nullptr) return Pass::next;  // and now a pass of our own
  settle(doom, own->plan, second);
  return after_pass(*own, gone() - before);
}

void Collector::move(OwnPass& own) {
  own.moves = mover_.move(own.plan);
  outcome_.written.packs +=
      own.moves.written.size() + own.moves.needless.size();
  outcome_.written.bytes += own.moves.written_bytes;
  outcome_.indexes_written += own.moves.indexes;
}

// On a full disk the next pass moves more, in the room that this one made by
// removing so many bytes of packs.
Collector::Pass Collector::after_pass(const OwnPass& own, std::uint64_t gone) {
  if (!outcome_.ran_out_of_space) return Pass::is_over;
  if (mover_.count_pass(own.moves, gone)) return Pass::next;
  if (own.plan.repacked.packs == 0) {
    outcome_.room_missing = mover_.room_missing(own.plan);
  }
  return Pass::is_over;
}

// Whatever leans on a pack before it.
std::vector<PackId> Collector::what_goes(const OwnPass& own) {
  // Copies that nothing needs: what they were made from is there.
  std::vector<PackId> going = own.moves.needless;
  const auto add = [&](const std::vector<std::size_t>& places) {
    for (const std::size_t place : places) {
      going.push_back(own.plan.packs[place].id);
    }
  };
  // What they lean on nobody knows.
  for (const auto& pack : own.plan.unreadable) going.push_back(pack.id);
  add(own.plan.removal_order);
  // All or nothing: old packs may lean on one another. What stays is closed
  // under bases.
  if (own.moves.is_done) add(own.plan.last_order);
  return going;
}

// Those that have not taken their slots.
std::vector<std::string> Collector::older_sessions(
    const Epoch& condemnation) const {
  std::vector<std::string> older;
  for (const auto& session : read_sessions(storage_, repository_.keyring())) {
    if (session.is_older_than(condemnation.number) &&
        !storage_.size(snapshot_name(session.id))) {
      older.push_back(description(session));
    }
  }
  return older;
}

// False: not all of them ended in time.
bool Collector::wait_for_sessions_before(const Epoch& condemnation) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kLongestPause{2000};
  std::chrono::milliseconds pause{100};
  const auto until = Clock::now() + options_.wait;
  while (true) {
    step("waiting for backups that began before");
    with_reserve([&] { fence_dead(); });
    // Now, and not before the condemnation: who registers from now on, pins it.
    outcome_.waits_for = older_sessions(condemnation);
    if (outcome_.waits_for.empty()) return true;
    if (Clock::now() >= until) return false;
    if (!std::exchange(has_told_, true) && dialogue_.waits) {
      dialogue_.waits(outcome_.waits_for);
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

bool Collector::has_just_the_packs_of(const OwnPass& own,
                                      const Epoch& condemnation) const {
  std::set<PackId> known(own.moves.written.begin(), own.moves.written.end());
  known.insert(own.moves.needless.begin(), own.moves.needless.end());
  for (const auto& pack : own.plan.packs) known.insert(pack.id);
  for (const auto& pack : own.plan.unreadable) known.insert(pack.id);
  std::set<PackId> listed;
  for (const auto& pack : list_packs(storage_)) listed.insert(pack.id);
  for (const auto& pack : condemnation.doomed) listed.erase(pack.id);
  return listed == known;
}

bool Collector::may_remove(const Epoch& doom, std::string_view what) {
  step(what);
  return is_newest(storage_, repository_.keyring(), doom.number);
}

// `plan`: the one that the doom was made from, when this process made it.
bool Collector::carry_out(const Epoch& doom, const PrunePlan* plan) {
  std::vector<PackId> due;
  outcome_.trash = {};  // all that waits is in the newest doom
  for (const auto& [id, since] : doom.doomed) {
    const auto size = storage_.size(pack_name(id));
    if (!size) continue;
    if (options_.trash.count() == 0 || mover_.is_needless(id) ||
        since.seconds + options_.trash.count() <= now_.seconds) {
      due.push_back(id);
    } else {
      ++outcome_.trash.packs;
      outcome_.trash.bytes += *size;
    }
  }
  std::set<PackId> first;
  if (plan != nullptr) {
    for (const auto& pack : plan->unreadable) first.insert(pack.id);
    for (const auto place : plan->removal_order) {
      first.insert(plan->packs[place].id);
    }
  } else if (due.empty()) {
    return true;
  }
  // What nothing leans on, while index objects still name it: nobody uses a row
  // before its pack was seen to exist. That makes room for the index.
  for (const auto& id : due) {
    if (first.contains(id) && !remove_pack(doom, id, outcome_.removed)) {
      return false;
    }
  }
  if (!change_index(doom)) return false;
  // No index object names the others any more, until one is made anew from the
  // packs that are there: so none is left behind without what it leans on.
  for (const auto& id : due) {
    if (first.contains(id)) continue;
    PackSum& sum = mover_.has_moved(id) ? outcome_.repacked : outcome_.removed;
    if (!remove_pack(doom, id, sum)) return false;
  }
  remove_old_epochs(doom);
  return true;
}

bool Collector::remove_pack(const Epoch& doom, const PackId& id, PackSum& sum) {
  const auto size = storage_.size(pack_name(id));
  if (!size) return true;
  if (!may_remove(doom, "removing packs")) return false;
  storage_.remove(pack_name(id));
  ++sum.packs;
  sum.bytes += *size;
  if (progress_ != nullptr) ++progress_->items_done;
  return true;
}

// New index objects, and just the packs that stay are named, before old ones
// go. Again if one went meanwhile that was to serve: `repair index`, which
// knows no epochs, makes all of them anew, and may have seen one here that is
// gone now.
bool Collector::change_index(const Epoch& doom) {
  while (true) {
    const auto change = write_new_index(doom);
    if (!change) continue;
    for (const auto& id : change->removed) {
      if (!may_remove(doom, "removing old index objects")) return false;
      storage_.remove(index_name(id));
      replaced_.insert(id);
      ++outcome_.indexes_removed;
    }
    if (are_there(storage_, change->serving)) return true;
  }
}

// Nothing: an index object went whose word was taken over. Then somebody took
// back what it said, as `repair packs` does of a damaged pack.
std::optional<IndexChange> Collector::write_new_index(const Epoch& doom) {
  // Before the packs: a pack is older than what names it, so that what others
  // publish meanwhile is not taken for an index object of packs that are gone.
  const auto indexes = read_index_contents(storage_, repository_.keyring());
  std::set<PackId> doomed;
  for (const auto& pack : doom.doomed) doomed.insert(pack.id);
  std::vector<PackId> remaining;
  for (const auto& pack : list_packs(storage_)) {
    if (!doomed.contains(pack.id)) remaining.push_back(pack.id);
  }
  IndexChange change = plan_index_change(indexes, remaining);
  step("writing the index");
  IndexBatch index(storage_, repository_.keyring(), repository_.signer(),
                   session_);
  for (const auto& [assurance, packs] : change.to_name) {
    index.begin(assurance);
    for (const auto& id : packs) {
      try {
        index.add(
            read_pack_directory(storage_, repository_.keyring(), id).pack);
      } catch (const CorruptionError&) {
        // One that was taken out, and is not doomed yet.
        if (assurance != Assurance{}) throw;
      }
    }
  }
  index.finish();
  if (!are_there(storage_, change.removed)) {
    index.discard();
    return std::nullopt;
  }
  outcome_.indexes_written += index.published().size();
  published_.insert(index.published().begin(), index.published().end());
  change.serving.insert(change.serving.end(), index.published().begin(),
                        index.published().end());
  return change;
}

// What was forgotten before the condemnation, and is so still: what is not in
// the list of the doom is void for ever, so its slot may be empty again. And so
// may those of sessions that were fenced off before.
void Collector::settle(const Epoch& doom, const PrunePlan& first,
                       const PrunePlan& second) {
  std::vector<SessionId> slots;
  std::ranges::set_intersection(first.slots, second.slots,
                                std::back_inserter(slots));
  const std::size_t forgotten = slots.size();
  slots.insert(slots.end(), first.tombstones.begin(), first.tombstones.end());
  if (!settle_slots(doom, slots)) return;
  outcome_.slots_settled += forgotten;
  // Their marks, unless there are newer ones, which the next pass settles.
  if (first.slots == second.slots && first.marks == second.marks) {
    (void)settle_marks(doom, first);
  }
}

bool Collector::settle_slots(const Epoch& doom,
                             std::span<const SessionId> slots) {
  for (const auto& id : slots) {
    if (!may_remove(doom, "settling forgotten snapshots")) return false;
    storage_.remove(snapshot_name(id));
  }
  return true;
}

// After the slots: else a snapshot would be valid again.
bool Collector::settle_marks(const Epoch& doom, const PrunePlan& plan) {
  for (const auto& id : plan.marks) {
    if (!may_remove(doom, "settling marks")) return false;
    storage_.remove(mark_name(id));
    ++outcome_.marks_settled;
  }
  return true;
}

void Collector::remove_epochs_before(std::uint64_t number) {
  for (const std::uint64_t old : list_epochs(storage_)) {
    if (old < number) storage_.remove(epoch_name(old));
  }
}

void Collector::remove_old_epochs(const Epoch& doom) {
  // That many stay beside the newest: for whoever reads one at this moment.
  constexpr std::uint64_t kKept = 3;
  for (const std::uint64_t number : list_epochs(storage_)) {
    if (number + kKept < doom.number && may_remove(doom, "removing epochs")) {
      storage_.remove(epoch_name(number));
    }
  }
}

void Collector::tidy_sessions() {
  for (const auto& name : list_strays(storage_)) storage_.remove(name);
}

}  // namespace

PruneOutcome prune(Repository& repository, const PruneOptions& options,
                   const Timestamp& now, const PruneDialogue& dialogue,
                   std::stop_token stop, Progress* progress) {
  const Role role = repository.keyring().role();
  if (role != Role::owner && role != Role::maintain) {
    throw WrongKey("the " + std::string(name_of(role)) +
                   " role may not delete anything");
  }
  const auto collect = [&] {
    return Collector(repository, options, now, dialogue, stop, progress).run();
  };
  PruneOutcome outcome =
      unless_renewed(repository.storage(), repository.keyring(), [&] {
        try {
          return collect();
        } catch (const OutOfSpace&) {
          // Of the disk that holds the cache, too, if it is the same.
          give_reserve(repository.storage());
        }
        return collect();
      });
  try {
    mend_config(repository.storage(), repository.config());
    mend_generation_objects(repository.storage(), repository.keyring());
    take_reserve(repository.storage());
  } catch (const OutOfSpace&) {
    outcome.has_reserve = false;
  }
  return outcome;
}

}  // namespace cairn::repo
