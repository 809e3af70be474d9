// Renewing the keys that seal, as when somebody may have kept a copy of them:
// what is written from then on is closed to who has only the old ones
// (FORMAT.md, 6.16; docs/decisions/0028).
#pragma once

#include <cstdint>
#include <vector>

#include "repo/entry.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// The slots that would get the new keys: all that an owner certified. Throws
// CorruptionError while one is damaged and UnsupportedFormat while a newer
// program made one: who uses it would be left out.
[[nodiscard]] std::vector<KeySlot> slots_to_grant(const Storage& storage,
                                                  const Keyring& owner);

// Makes the next generation, for those slots, and answers its number. If keys
// were added or removed meanwhile, it makes another one for those that are
// left.
//
// Failure        LockedError: somebody else renewed them at the same time, and
//                nothing was done. RefusedForSafety: keys that the repository
//                is sealed with are lost, whose number would be given again.
//                Cut short, it happened or did not.
std::uint32_t rotate_keys(Storage& storage, const Keyring& owner,
                          std::vector<KeySlot> slots, const Timestamp& now);

}  // namespace cairn::repo
