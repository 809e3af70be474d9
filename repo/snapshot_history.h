// The snapshots of a repository from the newest on, for who looks for one.
//
//   slots --> what each says of itself --> by time --> verified, when reached
//
// To verify one takes several operations on curves, a sixth of a millisecond,
// and of a year of nights it is mostly the newest that is wanted. A slot that
// claims to be newer than it is gets looked at the sooner, and does not count;
// to make one look older takes a key of the repository and a slot overwritten,
// and whoever can do that could as well remove it. What lists, checks or
// deletes verifies them all (Repository::snapshots()).
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "repo/mark.h"
#include "repo/snapshot.h"

namespace cairn::repo {

// A valid snapshot: committed, not forgotten, not void.
struct ValidSnapshot {
  Snapshot snapshot;
  std::vector<StoredMark> holds;  // that hold it now
};

// Called with what is wrong with a slot or a mark, as soon as that is known.
using NoteDamage = std::function<void(const std::string& what)>;

// Threads        one thread at a time.
class SnapshotHistory {
 public:
  // Throws CorruptionError, UnsupportedFormat, NotFound (it is gone meanwhile)
  // for one that does not count.
  using Verify = std::function<ValidSnapshot(const SnapshotClaim& claim)>;

  SnapshotHistory(std::vector<SnapshotClaim> claims, Verify verify,
                  NoteDamage note_damage);

  // By time, then id, newest first.
  [[nodiscard]] std::span<const SnapshotClaim> claims() const noexcept {
    return claims_;
  }

  // The one that claims()[i] is of, verified the first time it is asked for.
  // Null: it does not count. Valid as long as the history.
  [[nodiscard]] const ValidSnapshot* find_valid(std::size_t i);

  // All that count, by time, then id, ascending.
  [[nodiscard]] std::vector<const ValidSnapshot*> all();

 private:
  struct Slot {
    bool is_looked_at = false;
    std::optional<ValidSnapshot> valid;
  };

  std::vector<SnapshotClaim> claims_;
  std::vector<Slot> slots_;  // beside claims_
  Verify verify_;
  NoteDamage note_damage_;
};

}  // namespace cairn::repo
