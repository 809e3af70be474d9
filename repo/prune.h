// Gives the space back that no snapshot needs any more, while backups, restores
// and other prunes go on (FORMAT.md, 10 and 11).
//
//   first mark --> move what is needed into new packs --> condemn
//     --> wait for older sessions --> second mark --> doom
//     --> rewrite the index --> remove packs --> settle
//
// Wherever it is cut short, every blob that a valid snapshot reaches lies in a
// pack that exists, and the next prune goes on from there: the epochs say how
// far it came (epoch.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/entry.h"
#include "repo/progress.h"
#include "repo/prune_plan.h"
#include "repo/repository.h"

namespace cairn::repo {

struct PruneOutcome {
  std::size_t sessions_fenced = 0;  // of processes that are gone
  PackSum removed;
  PackSum repacked;  // the old ones
  PackSum written;   // the new ones
  PackSum trash;     // doomed, and not removed yet
  std::size_t indexes_removed = 0;
  std::size_t indexes_written = 0;
  std::size_t slots_settled = 0;
  std::size_t marks_settled = 0;
  // False: of two who create one name on this storage both may win, so that no
  // session could be fenced off, dead or not.
  bool can_fence = true;
  // Sessions that a pass waits for. Not empty: nothing more was removed, and
  // the next prune goes on from here.
  std::vector<std::string> waits_for;
  // The disk had no room for all new packs: what was dead whole is gone, and so
  // is what could be moved; the rest is as it was. Worth an exit code of its
  // own.
  bool ran_out_of_space = false;
  // So many bytes, about, have to come free by other means before another prune
  // frees more. 0: another prune may free more as it is.
  std::uint64_t room_missing = 0;
  // False: nor for the reserve, which a later prune takes again.
  bool has_reserve = true;
};

enum class Proceed { yes, no };

// What a prune asks and tells on its way. Either may be empty.
struct PruneDialogue {
  // Sees the plan before it is carried out. A pass that another prune left open
  // is finished before that.
  std::function<Proceed(const PrunePlan&)> decide;
  // Called once, when it begins to wait for these sessions.
  std::function<void(const std::vector<std::string>& sessions)> waits;
};

// Throws CorruptionError or UnsupportedFormat, having condemned nothing, when
// something cannot be read; LockedError when that is so because the keys were
// renewed meanwhile, so that the next prune goes on; WrongKey for a role that
// may not; Cancelled between two steps.
PruneOutcome prune(Repository& repository, const PruneOptions& options,
                   const Timestamp& now, const PruneDialogue& dialogue,
                   std::stop_token stop, Progress* progress);

}  // namespace cairn::repo
