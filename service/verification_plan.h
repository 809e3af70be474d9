// Which packs a run reads again, so that within a cycle each is read once:
//
//   what it wrote itself    all, whatever that costs
//   never read, or damaged  first of the rest
//   read longest ago        so many that at this pace the cycle comes round
//                           a tenth early; nothing waits for its last day
//
// Pure functions of what is stored and what is remembered. A reading that
// claims to be of the future, since a clock went back, counts as none.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "repo/pack_reader.h"
#include "service/verified_packs.h"

namespace cairn::service {

struct VerificationRules {
  std::chrono::seconds cycle{30 * 86'400};
  std::uint64_t budget = std::uint64_t{2} << 30;  // bytes, for each run
};

struct VerificationPlan {
  std::vector<repo::StoredPack> written;  // by this run
  std::vector<repo::StoredPack> again;    // in the order to read them
  // What VerifiedPacks::paced becomes when they are read.
  Moment paced;
};

// `written` are those that the run brought. One pack of the rest is read even
// if it is larger than the budget, unless that is zero: else it never would be.
[[nodiscard]] VerificationPlan plan_verification(
    std::span<const repo::StoredPack> stored,
    const std::set<repo::PackId>& written, const VerifiedPacks& known,
    const VerificationRules& rules, Moment now);

// How far the cycle has come.
struct Coverage {
  std::uint64_t packs = 0;
  std::uint64_t never = 0;       // of these, read by nobody here
  std::uint64_t late = 0;        // not read for longer than the cycle
  std::uint64_t damaged = 0;     // also what is damaged by not being there
  std::optional<Moment> oldest;  // reading of those that were read
};
[[nodiscard]] Coverage coverage_of(std::span<const repo::StoredPack> stored,
                                   const VerifiedPacks& known,
                                   std::chrono::seconds cycle, Moment now);

}  // namespace cairn::service
