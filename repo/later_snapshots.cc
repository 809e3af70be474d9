#include "repo/later_snapshots.h"

#include <utility>
#include <variant>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"

namespace cairn::repo {

LaterSnapshots::LaterSnapshots(const Storage& storage, const Keyring& keyring)
    : storage_(storage), keyring_(keyring) {
  for (const auto& id : list_slots(storage)) known_.insert(id);
}

// In the order of readers: marks, slots, the newest doom.
std::vector<Snapshot> LaterSnapshots::look() {
  const auto marks = list_marks(storage_);
  std::vector<SessionId> ids = list_slots(storage_);
  std::erase_if(ids,
                [&](const SessionId& id) { return !known_.insert(id).second; });
  std::vector<Snapshot> later;
  if (ids.empty()) return later;
  const std::set<SessionId> forgotten = forgotten_by(marks);
  for (const auto& id : ids) {
    if (forgotten.contains(id)) continue;
    try {
      auto slot = unless_renewed(storage_, keyring_, [&] {
        return read_slot(storage_, keyring_, id);
      });
      if (auto* const snapshot = std::get_if<Snapshot>(&slot)) {
        later.push_back(std::move(*snapshot));
      }
    } catch (const NotFound&) {
      continue;  // settled since it was listed
    } catch (const CorruptionError&) {
      continue;
    } catch (const UnsupportedFormat&) {
      continue;
    }
  }
  LastDoom doom;
  try {
    doom = unless_renewed(storage_, keyring_,
                          [&] { return read_last_doom(storage_, keyring_); });
  } catch (const UnsupportedFormat&) {
    return later;
  }
  std::erase_if(later, [&](const Snapshot& snapshot) {
    return doom.is_void(snapshot.id, snapshot.header.epoch);
  });
  return later;
}

std::set<SessionId> LaterSnapshots::forgotten_by(
    std::span<const MarkId> marks) const {
  std::set<SessionId> forgotten;
  for (const auto& id : marks) {
    try {
      const Mark mark = unless_renewed(storage_, keyring_, [&] {
        return read_mark(storage_, keyring_, id);
      });
      if (mark.action == MarkAction::forget) forgotten.insert(mark.target);
    } catch (const NotFound&) {
      continue;  // settled since it was listed
    } catch (const CorruptionError&) {
      continue;
    } catch (const UnsupportedFormat&) {
      continue;
    }
  }
  return forgotten;
}

}  // namespace cairn::repo
