#include "service/verification.h"

#include <chrono>
#include <vector>

#include "repo/blob_index.h"
#include "repo/check.h"
#include "repo/error.h"
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

// A memory that cannot be read counts as one that was lost.
VerifiedPacks remembered(const VerifiedPacksFile& file, Verification& result) {
  try {
    return file.read();
  } catch (const repo::Error& e) {
    result.memory_trouble = e.what();
    return {};
  }
}

// `there` are the packs that are stored, `before` what was known of them when
// they were listed: another run may have added some since.
void update(VerifiedPacks& known, const VerifiedPacks& before,
            const std::set<repo::PackId>& there,
            const std::set<repo::PackId>& sound, const Verification& result,
            Moment now) {
  for (const auto& [id, when] : before.sound) {
    if (!there.contains(id)) known.sound.erase(id);
  }
  for (const auto& [id, when] : before.damaged) {
    if (!there.contains(id)) known.damaged.erase(id);
  }
  for (const auto& id : sound) {
    known.sound[id] = now;
    known.damaged.erase(id);
  }
  for (const auto& id : result.damaged) {
    const auto found = before.damaged.find(id);
    known.damaged.try_emplace(
        id, found == before.damaged.end() ? now : found->second);
  }
  std::erase_if(known.unread, [&](const auto& one) {
    return !there.contains(one.first) || known.sound.contains(one.first);
  });
  for (const auto& id : there) {
    if (!known.sound.contains(id)) known.unread.try_emplace(id, now);
  }
  known.paced = result.plan.paced;
}

}  // namespace

std::set<repo::PackId> missing_packs(repo::Repository& repository) {
  // Its own: that of a backup passes over what is missing.
  repo::BlobIndex index(repository.index_store(), repository.keyring());
  index.refresh(repository.storage(), repository.keyring());
  const auto there = ids_of(repo::list_packs(repository.storage()));
  std::set<repo::PackId> missing;
  for (const auto& pack : index.packs()) {
    if (!there.contains(pack.id)) missing.insert(pack.id);
  }
  return missing;
}

Verification verify_by_plan(repo::Repository& repository,
                            const VerificationOptions& options,
                            VerifiedPacksFile& file,
                            const std::stop_token& stop,
                            repo::Progress* progress) {
  Verification result;
  const auto before = remembered(file, result);
  const auto stored = repo::list_packs(repository.storage());
  const auto there = ids_of(stored);
  std::set<repo::PackId> written;
  for (const auto& id : there) {
    if (!options.there_before.contains(id)) written.insert(id);
  }
  const Moment now{std::chrono::seconds(options.now.seconds)};
  result.plan = plan_verification(stored, written, before, options.rules, now);
  std::vector<repo::StoredPack> to_read = result.plan.written;
  to_read.insert(to_read.end(), result.plan.again.begin(),
                 result.plan.again.end());
  auto read =
      repo::verify_packs(repository, to_read, options.threads, stop, progress);
  auto suspect = read.suspect;
  suspect.merge(missing_packs(repository));
  if (!suspect.empty()) {
    look_closely(repository, options, suspect, stop, result);
  }
  for (const auto& id : read.suspect) {
    if (!result.damaged.contains(id)) read.sound.insert(id);
  }
  try {
    file.change([&](VerifiedPacks& known) {
      update(known, before, there, read.sound, result, now);
    });
  } catch (const repo::Error& e) {
    result.memory_trouble = e.what();
  }
  return result;
}

}  // namespace cairn::service
