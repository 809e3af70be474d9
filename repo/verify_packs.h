// Reads some packs whole, as check at level data does, and nothing beside them:
// what a run can afford each time. What seems wrong is a suspicion: the index
// may be behind, or a prune at work. check(), for those packs, tells what is
// true, and which snapshots it hurts.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <stop_token>

#include "repo/pack_reader.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

struct VerifiedPacksReport {
  // Every byte is what the name of the pack says, and every blob in it that
  // this key may open is what its id says.
  std::set<PackId> sound;
  std::set<PackId> suspect;
  std::set<PackId> gone;  // removed since they were listed
  std::uint64_t bytes = 0;
};

// Throws Cancelled, StorageUnreachable, and trouble of this machine.
[[nodiscard]] VerifiedPacksReport verify_packs(
    Repository& repository, std::span<const StoredPack> packs, unsigned threads,
    const std::stop_token& stop, Progress* progress);

}  // namespace cairn::repo
