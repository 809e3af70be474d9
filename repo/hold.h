// Holds a snapshot: one mark, and while it is in force neither forget nor prune
// takes the snapshot away.
#pragma once

#include "repo/mark.h"
#include "repo/repository.h"

namespace cairn::repo {

// Publishes `hold`, then looks again: nothing keeps others from forgetting the
// snapshot at the same time, or from pruning what was forgotten before. Throws
// RefusedForSafety when they did: it is lost then, or stays, unseen, as long as
// it is held.
MarkId hold_snapshot(Repository& repository, const Mark& hold);

}  // namespace cairn::repo
