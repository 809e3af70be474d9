// Takes packs out of the index (FORMAT.md, 6.7), so that they count for nobody
// who writes.
#pragma once

#include <functional>
#include <set>

#include "repo/ids.h"
#include "repo/repository.h"

namespace cairn::repo {

// Index objects that name one of `packs` are replaced by such as name the
// others of theirs, with the same assurance. `session`, which is registered,
// writes them. `step` is called between one object and the next, and may throw.
//
// Requires: what is good in the packs lies in others that are indexed.
//
// Throws LockedError when the session was fenced off, or others change the
// index again and again: then some objects may name the packs still.
void withdraw_packs(Repository& repository, const SessionId& session,
                    const std::set<PackId>& packs,
                    const std::function<void()>& step);

}  // namespace cairn::repo
