// Whether a storage keeps its promise that of several who create one name at
// the same time one wins (storage.h). Fencing rests on it: where it does not
// hold, a prune only waits for sessions and never takes a slot (FORMAT.md, 11).
#pragma once

#include "repo/storage.h"

namespace cairn::repo {

enum class CreateRace {
  one_wins,
  unsettled,  // two were told that they had won, or the loser's bytes stayed
};

// Tries it with a few threads on a name of its own, below `probes/`, which it
// removes. Throws what the storage throws.
[[nodiscard]] CreateRace probe_create_race(Storage& storage);

}  // namespace cairn::repo
