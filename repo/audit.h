// The history of a repository, as its signed objects tell it: who made, forgot
// and removed what. No log is kept beside them, so whatever changes the
// repository is in it, and a lost machine loses none of it (DESIGN 11).
//
//   slots, marks, epochs, generations, keys --read_audit_trail()--> values
//                                                       |-- audit show
//                                                       `-- find_gaps()
//
// What a prune settled is gone from here, too: of that the dooms tell, which
// list what they left.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "repo/epoch.h"
#include "repo/finding.h"
#include "repo/generation_object.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"
#include "repo/mark.h"
#include "repo/snapshot.h"
#include "repo/storage.h"

namespace cairn::repo {

struct AuditedMark {
  MarkId id;
  SignedMark content;
};

// All signatures and certificates in it are verified.
struct AuditTrail {
  std::vector<Snapshot> snapshots;  // forgotten and void ones, too
  std::vector<Tombstone> tombstones;
  std::vector<AuditedMark> marks;
  std::vector<SignedEpoch> epochs;  // ascending
  std::vector<KeySlot> keys;        // which their own key vouches for
  // Ascending; which the root key signed. Of those that a newer one replaced,
  // prune leaves none.
  std::vector<GenerationObject> generations;

  // As they are listed, whether or not they can be read; ascending.
  std::vector<SessionId> slots;
  std::vector<std::uint64_t> epoch_numbers;
};

// What cannot be read becomes a finding. Throws LockedError when prunes go on
// so fast that no moment is seen whole.
[[nodiscard]] AuditTrail read_audit_trail(const Storage& storage,
                                          const Keyring& keyring,
                                          FindingList& findings);

// Verifies the signatures of what tells no history: sessions, pins and index
// objects. Answers how many there are.
std::uint64_t verify_other_signatures(const Storage& storage,
                                      const Keyring& keyring,
                                      FindingList& findings);

// Where the objects do not fit together. Damage, which makes `audit verify` end
// with 4:
//
//   fork             two snapshots of one key in one series have one number
//   gap              numbers are missing, and nothing explains it
//   broken-chain     a snapshot names another predecessor than there is
//   lost-snapshot    the newest epoch lists it, and it is gone
//   lost-epoch       a number between two others, which no prune removes
//   broken-epochs    an epoch names another predecessor than there is
//
// Notes: explained-gap, where a doom may have settled what is missing, a forget
// mark is left of it, or a slot cannot be read; unlinked-epoch, whose
// predecessor could not be read when it was published.
void find_gaps(const AuditTrail& trail, FindingList& findings);

}  // namespace cairn::repo
