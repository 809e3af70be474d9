// Says of packs that were read whole that everyone may rely on them (FORMAT.md,
// 6.7): for who has just read them, `check` and `repair packs`.
#pragma once

#include <span>
#include <vector>

#include "repo/check_packs.h"
#include "repo/ids.h"
#include "repo/repository.h"

namespace cairn::repo {

// Names those of the packs that are there, and not doomed, in index objects,
// which `session` writes, as verified for everyone; answers which. Requires:
// the bases of differences in them were compared with their ids, too, and this
// is an owner's key.
//
// Failure        an Error of whatever stands against it: the storage is full, a
//                pack changed, or was removed at this moment. None is named
//                then.
[[nodiscard]] std::vector<PackId> vouch_for(Repository& repository,
                                            const SessionId& session,
                                            std::span<const SoundPack> packs);

}  // namespace cairn::repo
