#include "service/verification_plan.h"

#include <algorithm>
#include <tuple>

namespace cairn::service {
namespace {

// Nothing: never, or that is not to be believed.
std::optional<Moment> last_read(const repo::PackId& id,
                                const VerifiedPacks& known, Moment now) {
  if (known.damaged.contains(id)) return std::nullopt;
  const auto found = known.sound.find(id);
  if (found == known.sound.end() || found->second > now) return std::nullopt;
  return found->second;
}

struct Waiting {
  std::optional<Moment> last;  // none before any
  repo::StoredPack pack;
};

std::vector<Waiting> by_age(std::span<const repo::StoredPack> stored,
                            const std::set<repo::PackId>& written,
                            const VerifiedPacks& known, Moment now) {
  std::vector<Waiting> waiting;
  for (const auto& pack : stored) {
    if (written.contains(pack.id)) continue;
    waiting.push_back({last_read(pack.id, known, now), pack});
  }
  std::ranges::sort(waiting, [](const Waiting& a, const Waiting& b) {
    return std::tie(a.last, a.pack) < std::tie(b.last, b.pack);
  });
  return waiting;
}

}  // namespace

VerificationPlan plan_verification(std::span<const repo::StoredPack> stored,
                                   const std::set<repo::PackId>& written,
                                   const VerifiedPacks& known,
                                   const VerificationRules& rules, Moment now) {
  using Seconds = std::chrono::duration<double>;
  VerificationPlan plan;
  for (const auto& pack : stored) {
    if (written.contains(pack.id)) plan.written.push_back(pack);
  }
  const auto waiting = by_age(stored, written, known, now);
  double total = 0;
  for (const auto& one : waiting) total += static_cast<double>(one.pack.size);
  const auto pace = rules.cycle - rules.cycle / 10;
  const Moment paced =
      std::clamp(known.paced.value_or(now), now - rules.cycle, now);
  const double credit = total * (Seconds(now - paced) / Seconds(pace));

  std::uint64_t bytes = 0;
  for (const auto& [last, pack] : waiting) {
    const bool is_due = !last || now - *last >= pace;
    const bool is_in_pace = static_cast<double>(bytes + pack.size) <= credit;
    const bool is_affordable =
        bytes + pack.size <= rules.budget || (bytes == 0 && rules.budget > 0);
    if (!is_affordable || (!is_due && !is_in_pace)) break;
    bytes += pack.size;
    plan.again.push_back(pack);
  }
  plan.paced = paced;
  if (total > 0) {
    const Seconds worth = Seconds(pace) * (static_cast<double>(bytes) / total);
    plan.paced = std::min(
        now, paced + std::chrono::duration_cast<std::chrono::seconds>(worth));
  }
  return plan;
}

Coverage coverage_of(std::span<const repo::StoredPack> stored,
                     const VerifiedPacks& known, std::chrono::seconds cycle,
                     Moment now) {
  Coverage coverage;
  coverage.damaged = known.damaged.size();
  for (const auto& pack : stored) {
    ++coverage.packs;
    if (known.damaged.contains(pack.id)) continue;
    const auto last = last_read(pack.id, known, now);
    if (!last) {
      ++coverage.never;
      const auto seen = known.unread.find(pack.id);
      if (seen != known.unread.end() && now - seen->second > cycle) {
        ++coverage.late;
      }
      continue;
    }
    if (now - *last > cycle) ++coverage.late;
    coverage.oldest = std::min(*last, coverage.oldest.value_or(*last));
  }
  return coverage;
}

}  // namespace cairn::service
