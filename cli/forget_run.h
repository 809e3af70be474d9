// Forgetting by rules, from the snapshots there are to the marks: for `forget`
// and for what a run does when it has ended well.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/context.h"
#include "repo/forget.h"
#include "repo/repository.h"
#include "repo/retention.h"

namespace cairn::cli {

// One snapshot, and whether it stays.
struct ForgetDecision {
  const repo::ValidSnapshot* valid;
  bool is_kept;
  std::vector<std::string> reasons;
};

// Of WAL, which rules pass over, goes only what another snapshot holds too.
[[nodiscard]] std::vector<ForgetDecision> decide_by_rules(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    const repo::RetentionPolicy& policy, repo::Repository& repository);

// What retention reads of a snapshot.
[[nodiscard]] repo::Candidate candidate_of(const repo::ValidSnapshot& valid);

// Without all of them, a rule may count wrongly, and the one that remains of a
// series may be unreadable. Throws repo::CorruptionError.
void require_undamaged(const std::vector<std::string>& damage);

// One that claims to be of a time to come would drive all real ones out of a
// span, and be the last one that stays. Throws repo::RefusedForSafety.
void require_past_arrivals(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    const repo::Timestamp& now);

// Whether the space of what goes comes back at once, without being told to.
enum class SpaceComesBack { now, with_a_prune };

// Forgets those that are not kept; a dry run only says so.
void forget_all(std::span<const ForgetDecision> decisions,
                repo::LastComplete last, SpaceComesBack space,
                repo::Repository& repository, Context& context);

// Of those that are not kept.
[[nodiscard]] std::vector<repo::SessionId> ids_of_forgotten(
    std::span<const ForgetDecision> decisions);

}  // namespace cairn::cli
