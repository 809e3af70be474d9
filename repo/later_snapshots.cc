#include "repo/later_snapshots.h"

#include <utility>
#include <variant>

#include "repo/error.h"
#include "repo/generation_object.h"

namespace cairn::repo {

LaterSnapshots::LaterSnapshots(const Storage& storage, const Keyring& keyring)
    : storage_(storage), keyring_(keyring) {
  for (const auto& id : list_slots(storage)) known_.insert(id);
}

std::vector<Snapshot> LaterSnapshots::look() {
  std::vector<Snapshot> later;
  for (const auto& id : list_slots(storage_)) {
    if (!known_.insert(id).second) continue;
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
  return later;
}

}  // namespace cairn::repo
