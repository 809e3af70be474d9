#include "service/verification.h"

#include <chrono>
#include <vector>

#include "repo/check.h"
#include "repo/pack_format.h"
#include "repo/verify_packs.h"

namespace cairn::service {
namespace {

void look_closely(repo::Repository& repository,
                  const VerificationOptions& options,
                  const std::set<repo::PackId>& suspect,
                  const std::stop_token& stop, Verification& result) {
  result.report = repo::check(repository,
                              {.level = repo::CheckLevel::data,
                               .subset = {repo::PackSubset::Named{suspect}},
                               .now = options.now,
                               .threads = options.threads},
                              stop, nullptr);
  for (const auto& finding : result.report.findings) {
    if (finding.severity < repo::Severity::unsupported) continue;
    const auto pack = repo::parse_pack_name(finding.object);
    if (pack && suspect.contains(*pack)) result.damaged.insert(*pack);
  }
}

std::set<repo::PackId> ids_of(const std::vector<repo::StoredPack>& packs) {
  std::set<repo::PackId> ids;
  for (const auto& pack : packs) ids.insert(pack.id);
  return ids;
}

}  // namespace

Verification verify_by_plan(repo::Repository& repository,
                            const VerificationOptions& options,
                            VerifiedPacksFile& file,
                            const std::stop_token& stop,
                            repo::Progress* progress) {
  const auto before = file.read();
  const auto stored = repo::list_packs(repository.storage());
  const auto there = ids_of(stored);
  std::set<repo::PackId> written;
  for (const auto& id : there) {
    if (!options.there_before.contains(id)) written.insert(id);
  }
  const Moment now{std::chrono::seconds(options.now.seconds)};
  Verification result;
  result.plan = plan_verification(stored, written, before, options.rules, now);
  std::vector<repo::StoredPack> to_read = result.plan.written;
  to_read.insert(to_read.end(), result.plan.again.begin(),
                 result.plan.again.end());
  auto read =
      repo::verify_packs(repository, to_read, options.threads, stop, progress);
  if (!read.suspect.empty()) {
    look_closely(repository, options, read.suspect, stop, result);
  }
  for (const auto& id : read.suspect) {
    if (!result.damaged.contains(id)) read.sound.insert(id);
  }
  file.change([&](VerifiedPacks& known) {
    // Of those that were known before: another run may have added some that
    // were not there to be listed here.
    for (const auto& [id, when] : before.sound) {
      if (!there.contains(id)) known.sound.erase(id);
    }
    for (const auto& [id, when] : before.damaged) {
      if (!there.contains(id)) known.damaged.erase(id);
    }
    for (const auto& id : read.sound) {
      known.sound[id] = now;
      known.damaged.erase(id);
    }
    for (const auto& id : result.damaged) known.damaged.try_emplace(id, now);
    known.paced = result.plan.paced;
  });
  return result;
}

}  // namespace cairn::service
