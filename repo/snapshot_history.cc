#include "repo/snapshot_history.h"

#include <algorithm>
#include <utility>

#include "repo/error.h"

namespace cairn::repo {

SnapshotHistory::SnapshotHistory(std::vector<SnapshotClaim> claims,
                                 Verify verify, NoteDamage note_damage)
    : claims_(std::move(claims)),
      slots_(claims_.size()),
      verify_(std::move(verify)),
      note_damage_(std::move(note_damage)) {
  std::ranges::sort(claims_, std::ranges::greater(),
                    [](const SnapshotClaim& claim) {
                      return std::pair(claim.header.time, claim.id);
                    });
}

const ValidSnapshot* SnapshotHistory::find_valid(std::size_t i) {
  Slot& slot = slots_.at(i);
  if (!slot.is_looked_at) {
    try {
      slot.valid = verify_(claims_[i]);
    } catch (const NotFound&) {
      // forgotten and pruned since it was listed
    } catch (const CorruptionError& e) {
      note_damage_(e.what());
    } catch (const UnsupportedFormat& e) {
      note_damage_(e.what());
    }
    slot.is_looked_at = true;
  }
  return slot.valid ? &*slot.valid : nullptr;
}

std::vector<const ValidSnapshot*> SnapshotHistory::all() {
  std::vector<const ValidSnapshot*> all;
  for (std::size_t i = claims_.size(); i-- > 0;) {
    if (const auto* const valid = find_valid(i)) all.push_back(valid);
  }
  return all;
}

}  // namespace cairn::repo
