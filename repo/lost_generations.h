// Keys that were renewed and are lost: objects bear their number, and no
// generation object has them any more (FORMAT.md, 6.16). Whoever wrote on would
// seal with keys that somebody wanted to end, and whoever renewed the keys
// again would give the number twice.
#pragma once

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

}  // namespace cairn::repo
