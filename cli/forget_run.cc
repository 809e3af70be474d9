#include "cli/forget_run.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "ingest/wal_archive.h"
#include "repo/error.h"
#include "repo/mark.h"

namespace cairn::cli {
namespace {

// Rules count states, and WAL is what lies between them: it goes when another
// snapshot holds it, too.
void decide_on_wal(const std::vector<const repo::ValidSnapshot*>& snapshots,
                   repo::Repository& repository,
                   std::vector<ForgetDecision>& decisions) {
  std::vector<const repo::ValidSnapshot*> wal;
  std::ranges::copy_if(
      snapshots, std::back_inserter(wal),
      [](const auto* valid) { return is_of_wal(valid->snapshot); });
  std::map<repo::SessionId, std::string> needless;
  for (const auto& one : ingest::find_covered_wal(repository, snapshots)) {
    needless.emplace(one.covered,
                     one.by ? "its WAL is in " + one.by->brief() + ", too"
                            : "its WAL precedes the oldest base backup");
  }
  for (const auto* const valid : wal) {
    const auto why = needless.find(valid->snapshot.id);
    if (why == needless.end()) {
      decisions.push_back({valid, true, {"WAL, which rules pass over"}});
    } else if (!valid->holds.empty()) {
      decisions.push_back({valid, true, {"held"}});
    } else {
      decisions.push_back({valid, false, {why->second}});
    }
  }
}

}  // namespace

repo::Candidate candidate_of(const repo::ValidSnapshot& valid) {
  const auto& [snapshot, holds] = valid;
  return {.id = snapshot.id.hex(),
          .series = series_text(snapshot),
          .time = snapshot.header.time,
          .arrival = snapshot.header.arrival,
          .tags = snapshot.record ? snapshot.record->tags
                                  : std::vector<std::string>(),
          .is_complete = snapshot.header.is_complete,
          .is_held = !holds.empty()};
}

std::vector<ForgetDecision> decide_by_rules(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    const repo::RetentionPolicy& policy, repo::Repository& repository) {
  std::vector<repo::Candidate> candidates;
  std::vector<const repo::ValidSnapshot*> judged;
  for (const auto* const valid : snapshots) {
    if (is_of_wal(valid->snapshot)) continue;
    judged.push_back(valid);
    candidates.push_back(candidate_of(*valid));
  }
  std::vector<ForgetDecision> decisions;
  for (auto& verdict : repo::apply_retention(candidates, policy)) {
    const bool is_kept = !verdict.reasons.empty();
    decisions.push_back(
        {judged[verdict.candidate], is_kept,
         is_kept ? std::move(verdict.reasons) : std::move(verdict.objections)});
  }
  decide_on_wal(snapshots, repository, decisions);
  return decisions;
}

void require_undamaged(const std::vector<std::string>& damage) {
  if (damage.empty()) return;
  const std::string& first = damage.front();
  std::string advice;
  if (first.starts_with("snapshots/")) {
    advice =
        "; 'cairn forget' with the whole id gives a snapshot up that cannot "
        "be read";
  } else if (first.starts_with("marks/")) {
    advice = "; " + std::string(repo::kDamagedMarkAdvice);
  }
  throw repo::CorruptionError("nothing was forgotten, because of " + first +
                              advice);
}

void require_past_arrivals(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    const repo::Timestamp& now) {
  for (const auto* const valid : snapshots) {
    const auto& snapshot = valid->snapshot;
    if (!repo::arrived_in_the_future(snapshot, now)) continue;
    throw repo::RefusedForSafety(
        "snapshot " + snapshot.id.brief() + " of " + series_text(snapshot) +
        " claims to have arrived at " +
        local_time_text(snapshot.header.arrival) +
        ", which is yet to come: its clock or this one is wrong, or it was "
        "forged. Rules forget nothing of the series before 'cairn forget " +
        snapshot.id.brief() + "'");
  }
}

void forget_all(std::span<const ForgetDecision> decisions,
                repo::LastComplete last, SpaceComesBack space,
                repo::Repository& repository, Context& context) {
  const auto now = context.now();
  const bool is_dry = context.options.is_dry_run;
  std::vector<repo::ToForget> forgotten;
  for (const auto& decision : decisions) {
    if (decision.is_kept) continue;
    forgotten.push_back({decision.valid, joined(decision.reasons)});
  }
  const std::uint64_t count = forgotten.size();
  std::vector<repo::SessionId> held;
  if (!is_dry) {
    held = repo::forget_snapshots(repository, forgotten, last, now);
    context.output.allow_loss();
  }
  for (const auto& id : held) {
    context.output.warning("snapshot " + id.brief() +
                           " was held meanwhile: it is forgotten, and its data "
                           "stays until the hold is over");
  }
  if (!context.output.is_json()) {
    context.output.note(
        (is_dry ? "would forget " : "forgot ") + count_text(count) + " of " +
        counted(decisions.size(), "snapshot") +
        (!is_dry && count > 0 && space == SpaceComesBack::with_a_prune
             ? "; 'cairn prune' frees their space"
             : ""));
  }
}

std::vector<repo::SessionId> ids_of_forgotten(
    std::span<const ForgetDecision> decisions) {
  std::vector<repo::SessionId> ids;
  for (const auto& decision : decisions) {
    if (!decision.is_kept) ids.push_back(decision.valid->snapshot.id);
  }
  return ids;
}

}  // namespace cairn::cli
