// What others commit while one is at work: for who must not make what is there
// by now.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/mark.h"
#include "repo/snapshot.h"
#include "repo/storage.h"

namespace cairn::repo {

// Threads        one thread at a time.
class LaterSnapshots {
 public:
  // Borrows both. What is in slots by now is not later: list snapshots after
  // this, and none is missed.
  LaterSnapshots(const Storage& storage, const Keyring& keyring);

  // Those that came since the last look and are valid: neither forgotten nor
  // void. What cannot be read is passed over. Throws LockedError when that is
  // so because the keys were renewed.
  [[nodiscard]] std::vector<Snapshot> look();

 private:
  [[nodiscard]] std::set<SessionId> forgotten_by(
      std::span<const MarkId> marks) const;

  const Storage& storage_;
  const Keyring& keyring_;
  std::set<SessionId> known_;
};

}  // namespace cairn::repo
