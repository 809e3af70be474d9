// Forgets a snapshot: one mark, and it is no longer valid. Its space comes back
// with the next prune.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

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

struct ToForget {
  const ValidSnapshot* valid = nullptr;
  std::string reason;
};

// Whether a series may lose its last complete snapshot.
enum class LastComplete { stays, may_go };

// Each of them; then looks again, since others forget and hold at the same time
// and nothing keeps them out. Answers which of the forgotten are held by now:
// prune keeps them until the hold is over. Throws RefusedForSafety, having
// taken its marks for that series back, when none is left of a series whose
// last complete snapshot was to stay; LockedError, having taken back those for
// complete ones, when the keys were renewed at that moment.
std::vector<SessionId> forget_snapshots(Repository& repository,
                                        std::span<const ToForget> all,
                                        LastComplete last,
                                        const Timestamp& now);

// True for one that arrived more than an hour after `now`. Either clock is
// wrong, or it was forged, and rules must not measure by it.
[[nodiscard]] bool arrived_in_the_future(const Snapshot& snapshot,
                                         const Timestamp& now);

}  // namespace cairn::repo
