// Keys that were renewed and are lost: objects bear their number, and no
// generation object has them any more (FORMAT.md, 6.16). Whoever wrote on would
// seal with keys that somebody wanted to end, and whoever renewed the keys
// again would give the number twice.
#pragma once

#include <cstdint>
#include <vector>

#include "repo/carry.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// Looks at the small objects that are signed: marks, the newest epochs,
// registrations. What is not signed by who may counts for nothing.
//
// Throws RefusedForSafety when one was sealed with a later generation than the
// newest of `keyring`; LockedError when the keys were renewed just now.
void require_no_later_keys(const Storage& storage, const Keyring& keyring);

// The same, and looks at every snapshot and index object: for who renews keys.
void require_no_later_keys_anywhere(const Storage& storage,
                                    const Keyring& keyring);

// What lies above the newest generation of `keyring` and is none: neither copy
// is whole and signed by an owner. Anybody who may create objects can put one
// there, and while it is there nobody writes, since it may be what is left of
// keys that were renewed. Removes it, unless only told to plan; answers which.
//
// It is that indeed if keys were renewed, both copies came to harm, and nobody
// has written since: then nothing is lost with it, and the keys have to be
// renewed again. Requires: an owner's keyring.
//
// Throws RefusedForSafety, having removed nothing, when an object was sealed
// with later keys: these may come back from a copy of the repository.
std::vector<std::uint32_t> drop_false_generations(Storage& storage,
                                                  const Keyring& keyring,
                                                  Carry carry);

}  // namespace cairn::repo
