// Forgets a snapshot: one mark, and it is no longer valid. Its space comes back
// with the next prune.
#pragma once

#include <string_view>

#include "repo/entry.h"
#include "repo/repository.h"

namespace cairn::repo {

// Gives the reserve back when the disk is full: forgetting is what a full disk
// needs. Throws RefusedForSafety for a snapshot that is held, WrongKey for a
// role that may not, OutOfSpace when not even the reserve makes room.
//
// The second one reads all marks to learn of holds; the first trusts what
// snapshots() said of them.
MarkId forget_snapshot(Repository& repository, const ValidSnapshot& valid,
                       std::string_view reason, const Timestamp& now);
MarkId forget_snapshot(Repository& repository, const SessionId& id,
                       std::string_view reason, const Timestamp& now);

}  // namespace cairn::repo
