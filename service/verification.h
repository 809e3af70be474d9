// Verifies by plan: reads what a run wrote and a share of the rest, looks
// closely at what seems damaged, and remembers. A pack that the index names and
// storage lacks seems damaged, too.
#pragma once

#include <set>
#include <stop_token>
#include <string>

#include "repo/entry.h"
#include "repo/finding.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "service/verification_plan.h"
#include "service/verified_packs.h"

namespace cairn::service {

struct VerificationOptions {
  VerificationRules rules;
  // Packs that were there before the run; what came since is its own.
  std::set<repo::PackId> there_before;
  repo::Timestamp now;
  unsigned threads = 2;
};

struct Verification {
  VerificationPlan plan;
  std::set<repo::PackId> damaged;  // or missing, though it is needed
  // What check() found in what seemed damaged, with the snapshots that it
  // hurts; empty where nothing did.
  repo::CheckReport report;
  // Why its memory could not be read, or written: packs count as never read
  // then, and are read again. Empty: it could.
  std::string memory_trouble;
};

// Packs that index objects name and that are not there: since they were lost,
// or a prune was cut short. Throws as verify_by_plan() does.
[[nodiscard]] std::set<repo::PackId> missing_packs(
    repo::Repository& repository);

// Throws repo::Cancelled, repo::StorageUnreachable, and trouble of this
// machine; nothing of this reading is remembered then. What is remembered is a
// help: trouble with that is told, and changes nothing.
[[nodiscard]] Verification verify_by_plan(repo::Repository& repository,
                                          const VerificationOptions& options,
                                          VerifiedPacksFile& file,
                                          const std::stop_token& stop,
                                          repo::Progress* progress);

}  // namespace cairn::service
