#include "repo/prune.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>
#include <vector>

#include "repo/config.h"
#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/index_object.h"
#include "repo/mark.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/repacker.h"
#include "repo/session.h"
#include "repo/snapshot.h"

namespace cairn::repo {
namespace {

class Prune {
 public:
  Prune(const PrunePlan& plan, Repository& repository, const SessionId& session,
        std::stop_token stop, Progress* progress)
      : plan_(plan),
        repository_(repository),
        storage_(repository.storage()),
        stop_(std::move(stop)),
        progress_(progress),
        session_(session),
        index_(storage_, repository.keyring(), repository.signer(), session),
        repacker_(repository, index_, progress) {}

  PruneOutcome run() {
    // No session lives but ours, so nobody is writing to them.
    destructive_step("removing unfinished objects");
    storage_.remove_unfinished();
    remove_dead_packs();
    repack();
    change_index();
    remove_old_packs();
    settle();
    return outcome_;
  }

 private:
  void step(std::string_view what) {
    if (stop_.stop_requested()) throw Cancelled("prune: interrupted");
    if (progress_ != nullptr) progress_->set_current(what);
  }

  // Only while the registration keeps writers out: a prune that was fenced off
  // knows nothing of what they wrote since.
  void destructive_step(std::string_view what) {
    step(what);
    must_be_registered(storage_, session_);
  }

  void remove_pack(const PlannedPack& pack, PackSum& sum) {
    storage_.remove(pack_name(pack.id));
    ++sum.packs;
    sum.bytes += pack.size;
    if (progress_ != nullptr) ++progress_->items_done;
  }

  // While index objects still name them: nobody uses a row before its pack was
  // seen to exist.
  void remove_dead_packs() {
    for (const std::size_t place : plan_.removal_order) {
      destructive_step("removing packs");
      remove_pack(plan_.packs[place], outcome_.removed);
    }
  }

  void repack() {
    try {
      // All that moves was verified.
      index_.begin(Assurance::for_everyone());
      for (const auto& pack : plan_.packs) {
        if (pack.verdict.fate != PackFate::repack) continue;
        assert(pack.is_verified);
        step("moving blobs");
        repacker_.move(pack.id, pack.verdict.moved);
      }
      repacker_.finish();
    } catch (const OutOfSpace&) {
      // All or nothing: old packs may lean on one another. What remains is
      // closed under bases, and another prune finds more room.
      is_repacked_ = false;
      outcome_.ran_out_of_space = true;
      index_.discard();
      repacker_.discard();
    }
    for (const auto& pack : repacker_.written()) {
      ++outcome_.written.packs;
      outcome_.written.bytes += pack.size;
    }
  }

  [[nodiscard]] bool remains(const PlannedPack& pack) const {
    switch (pack.verdict.fate) {
      case PackFate::keep:
        return true;
      case PackFate::remove_first:
        return false;
      case PackFate::repack:
      case PackFate::remove_last:
        break;
    }
    return !is_repacked_;
  }

  // The new ones cover just the packs that remain, before the old ones go.
  void change_index() {
    std::vector<PackId> remaining;
    for (const auto& pack : plan_.packs) {
      if (remains(pack)) remaining.push_back(pack.id);
    }
    const IndexChange change = plan_index_change(plan_.indexes, remaining);
    step("writing the index");
    for (const auto& [assurance, packs] : change.to_name) {
      index_.begin(assurance);
      for (const auto& id : packs) {
        index_.add(
            read_pack_directory(storage_, repository_.keyring(), id).pack);
      }
    }
    index_.finish();
    outcome_.indexes_written = index_.published().size();
    for (const auto& id : change.removed) {
      destructive_step("removing old index objects");
      storage_.remove(index_name(id));
      ++outcome_.indexes_removed;
    }
  }

  // No index object names them any more, until one is made anew from the packs
  // that are there: so none is left behind without what it leans on.
  void remove_old_packs() {
    if (!is_repacked_) return;
    for (const std::size_t place : plan_.last_order) {
      const PlannedPack& pack = plan_.packs[place];
      if (pack.verdict.fate == PackFate::repack) {
        destructive_step("removing moved packs");
        remove_pack(pack, outcome_.repacked);
      } else {
        destructive_step("removing packs");
        remove_pack(pack, outcome_.removed);
      }
    }
  }

  // A slot before its mark: else the snapshot would be valid again.
  void settle() {
    for (const auto& id : plan_.slots) {
      destructive_step("settling forgotten snapshots");
      storage_.remove(snapshot_name(id));
      ++outcome_.slots_settled;
    }
    for (const auto& id : plan_.marks) {
      destructive_step("settling marks");
      storage_.remove(mark_name(id));
      ++outcome_.marks_settled;
    }
  }

  const PrunePlan& plan_;
  Repository& repository_;
  Storage& storage_;
  std::stop_token stop_;
  Progress* progress_;
  const SessionId session_;
  IndexBatch index_;
  Repacker repacker_;
  bool is_repacked_ = true;
  PruneOutcome outcome_;
};

// Fences the dead first, so that only the living keep a prune out.
Session register_prune(Repository& repository, const PruneOptions& options,
                       const Timestamp& now, std::size_t& fenced) {
  Storage& storage = repository.storage();
  const auto attempt = [&] {
    fenced +=
        fence_dead_sessions(storage, repository.keyring(), repository.signer(),
                            now, options.revoke_after);
    return Session(storage, repository.keyring(), repository.signer(),
                   SessionPurpose::prune, now);
  };
  try {
    return attempt();
  } catch (const OutOfSpace&) {
    give_reserve(storage);
  }
  return attempt();
}

// A registration left behind by a process that goes on would keep writers out
// for as long as it lives.
void sign_off(Session& session) noexcept {
  try {
    session.end();
  } catch (const std::exception&) {
    // What went wrong before is what the caller needs to know; the next prune
    // fences this session once its process is gone.
  }
}

}  // namespace

PruneOutcome carry_out(const PrunePlan& plan, Repository& repository,
                       const SessionId& session, std::stop_token stop,
                       Progress* progress) {
  return Prune(plan, repository, session, std::move(stop), progress).run();
}

PruneOutcome prune(Repository& repository, const PruneOptions& options,
                   const Timestamp& now,
                   const std::function<Proceed(const PrunePlan&)>& decide,
                   std::stop_token stop, Progress* progress) {
  const Role role = repository.keyring().role();
  if (role != Role::owner && role != Role::maintain) {
    throw WrongKey("the " + std::string(name_of(role)) +
                   " role may not delete anything");
  }
  std::size_t fenced = 0;
  Session session = register_prune(repository, options, now, fenced);
  PruneOutcome outcome;
  try {
    const PrunePlan plan = plan_prune(repository, options, now, stop, progress);
    if (!decide || decide(plan) == Proceed::yes) {
      outcome = carry_out(plan, repository, session.id(), stop, progress);
    }
  } catch (const std::exception&) {
    sign_off(session);
    throw;
  }
  session.end();
  outcome.sessions_fenced = fenced;
  try {
    mend_config(repository.storage(), repository.config());
    take_reserve(repository.storage());
  } catch (const OutOfSpace&) {
    outcome.has_reserve = false;
  }
  return outcome;
}

}  // namespace cairn::repo
