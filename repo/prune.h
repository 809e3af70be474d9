// Gives the space back that no snapshot needs any more (FORMAT.md, 10 and 11).
//
//   register --> plan --> remove what is dead whole --> write new packs
//     --> new index objects --> remove the old ones --> remove the old packs
//     --> settle forgotten slots and marks --> sign off
//
// Writers are kept out from before the plan until after the last step; readers
// go on. Wherever it is cut short, every blob that a valid snapshot reaches
// lies in a pack that exists, and the next prune goes on from there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>

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
  std::size_t indexes_removed = 0;
  std::size_t indexes_written = 0;
  std::size_t slots_settled = 0;
  std::size_t marks_settled = 0;
  // The disk had no room for new packs: what was dead whole is gone, the rest
  // is as it was. Worth an exit code of its own, and another prune.
  bool ran_out_of_space = false;
  // False: nor for the reserve, which a later prune takes again.
  bool has_reserve = true;
};

enum class Proceed { yes, no };

// Throws LockedError while another session is alive, and between two removals
// when this one was fenced off; CorruptionError or
// UnsupportedFormat, having removed nothing, when something cannot be read;
// WrongKey for a role that may not; Cancelled between two steps. `decide` sees
// the plan before it is carried out.
PruneOutcome prune(Repository& repository, const PruneOptions& options,
                   const Timestamp& now,
                   const std::function<Proceed(const PrunePlan&)>& decide,
                   std::stop_token stop, Progress* progress);

// Of the steps above those from the removal to the settling. Requires: the plan
// was made after `session` was registered as a prune, and it still is.
[[nodiscard]] PruneOutcome carry_out(const PrunePlan& plan,
                                     Repository& repository,
                                     const SessionId& session,
                                     std::stop_token stop, Progress* progress);

}  // namespace cairn::repo
