#include "repo/lost_generations.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/index_object.h"
#include "repo/mark.h"
#include "repo/session.h"
#include "repo/snapshot.h"

namespace cairn::repo {
namespace {

// That many of the newest are kept by who prunes.
constexpr std::size_t kEpochs = 4;

// Runs `read`, which checks a signature before it asks for the keys.
void require_keys_of(const Storage& storage, const Keyring& keyring,
                     const std::function<void()>& read) {
  try {
    read();
  } catch (const MissingKeys& e) {
    require_not_renewed(storage, keyring);
    throw RefusedForSafety(e.what());
  } catch (const NotFound&) {
    return;
  } catch (const CorruptionError&) {
    return;  // check tells of it
  } catch (const UnsupportedFormat&) {
    return;
  }
}

void look_at_index_objects(const Storage& storage, const Keyring& keyring) {
  for (const auto& id : list_indexes(storage)) {
    std::uint32_t generation = 0;
    try {
      generation = generation_of(storage, id);
    } catch (const NotFound&) {
      continue;
    } catch (const CorruptionError&) {
      continue;  // check tells of it
    }
    if (generation <= keyring.newest().number) continue;
    require_not_renewed(storage, keyring);
    throw RefusedForSafety(index_name(id) + ": was sealed with " +
                           missing_keys(generation));
  }
}

}  // namespace

void require_no_later_keys(const Storage& storage, const Keyring& keyring) {
  const auto look = [&](const auto& read) {
    require_keys_of(storage, keyring, read);
  };
  for (const auto& id : list_marks(storage)) {
    look([&] { (void)read_mark(storage, keyring, id); });
  }
  const auto epochs = list_epochs(storage);
  for (std::size_t i = epochs.size() - std::min(epochs.size(), kEpochs);
       i < epochs.size(); ++i) {
    look([&] { (void)read_epoch(storage, keyring, epochs[i]); });
  }
  look([&] { (void)read_sessions(storage, keyring); });
}

void require_no_later_keys_anywhere(const Storage& storage,
                                    const Keyring& keyring) {
  look_at_index_objects(storage, keyring);
  require_no_later_keys(storage, keyring);
  for (const auto& id : list_slots(storage)) {
    require_keys_of(storage, keyring,
                    [&] { (void)read_slot(storage, keyring, id); });
  }
}

std::vector<std::uint32_t> drop_false_generations(Storage& storage,
                                                  const Keyring& keyring,
                                                  Carry carry) {
  assert(keyring.role() == Role::owner);
  std::vector<std::uint32_t> dropped;
  for (const std::uint32_t number : list_generations(storage)) {
    if (number <= keyring.newest().number) continue;
    try {
      (void)read_generation_object(storage, number, keyring.repository(),
                                   keyring.root_key());
    } catch (const NotFound&) {
      continue;
    } catch (const CorruptionError&) {
      dropped.push_back(number);
    }
  }
  if (dropped.empty()) return dropped;
  require_no_later_keys_anywhere(storage, keyring);
  if (carry == Carry::plan_only) return dropped;
  for (const std::uint32_t number : dropped) {
    for (const auto& name : generation_names(number)) storage.remove(name);
  }
  return dropped;
}

}  // namespace cairn::repo
