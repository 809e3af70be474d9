#include "repo/verify_packs.h"

#include "repo/check_packs.h"
#include "repo/finding.h"
#include "repo/pack_format.h"

namespace cairn::repo {

VerifiedPacksReport verify_packs(Repository& repository,
                                 std::span<const StoredPack> packs,
                                 unsigned threads, const std::stop_token& stop,
                                 Progress* progress) {
  if (progress != nullptr) {
    for (const auto& pack : packs) progress->bytes_total += pack.size;
    progress->items_total = packs.size();
  }
  FindingList findings;
  const auto checked = check_packs(repository, repository.index(), packs, {},
                                   {}, threads, findings, stop, progress);
  CheckReport report;
  findings.move_to(report);
  std::set<PackId> suspect;
  for (const auto& bad : checked.bad_blobs) suspect.insert(bad.pack);
  for (const auto& finding : report.findings) {
    if (const auto id = parse_pack_name(finding.object)) suspect.insert(*id);
  }
  VerifiedPacksReport result;
  result.bytes = checked.bytes;
  for (const auto& pack : packs) {
    if (!suspect.contains(pack.id)) {
      result.sound.insert(pack.id);
    } else if (repository.storage().size(pack_name(pack.id))) {
      result.suspect.insert(pack.id);
    } else {
      result.gone.insert(pack.id);
    }
  }
  return result;
}

}  // namespace cairn::repo
