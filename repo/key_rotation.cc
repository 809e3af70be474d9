#include "repo/key_rotation.h"

#include <algorithm>
#include <cassert>
#include <set>
#include <string>
#include <utility>

#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/lost_generations.h"

namespace cairn::repo {
namespace {

// Nobody relies on it before it was read back: what does not open is lost with
// all that is sealed under it.
void must_open(const GenerationObject& object, const Keyring& owner) {
  const auto opened =
      open_grant(object, owner.slot_secret(), owner.repository());
  if (!opened) {
    throw RefusedForSafety(
        "the key that opened the repository was removed meanwhile: the keys "
        "were not renewed");
  }
}

}  // namespace

std::vector<KeySlot> slots_to_grant(const Storage& storage,
                                    const Keyring& owner) {
  auto list = list_key_slots(storage);
  if (!list.damaged.empty()) {
    const auto& slot = list.damaged.front();
    throw CorruptionError(slot.what +
                          "; whoever uses it would be left out: bring it back "
                          "from a copy, or `cairn key remove " +
                          slot.id.brief() + "`");
  }
  if (list.newer > 0) {
    throw UnsupportedFormat(
        "keys: a newer cairn made a key that this one does not know, and that "
        "would be left out");
  }
  std::erase_if(list.slots, [&](const KeySlot& slot) {
    return !is_certified(slot, owner.repository(), owner.root_key());
  });
  return std::move(list.slots);
}

namespace {

void publish(Storage& storage, const Keyring& owner,
             const Generations& generations, const std::vector<KeySlot>& slots,
             const Timestamp& now) {
  const std::uint32_t number = generations.back().number;
  GenerationObject object{number, now, {}};
  for (const auto& slot : slots) {
    object.grants.push_back(make_grant(generations, slot.role, slot.public_key,
                                       owner.repository()));
  }
  must_open(object, owner);
  const auto bytes = sign_generation(object, owner);
  const auto names = generation_names(number);
  if (storage.create(names[0], bytes) == Created::exists) {
    throw LockedError("the keys were renewed by somebody else at this moment");
  }
  if (get_whole(storage, names[0], kMaxGenerationBytes) != bytes) {
    storage.remove(names[0]);
    throw CorruptionError(names[0] + ": does not read back as it was written");
  }
  (void)storage.create(names[1], bytes);
}

std::set<crypto::PublicKey> keys_of(const std::vector<KeySlot>& slots) {
  std::set<crypto::PublicKey> keys;
  for (const auto& slot : slots) keys.insert(slot.public_key);
  return keys;
}

}  // namespace

std::uint32_t rotate_keys(Storage& storage, const Keyring& owner,
                          std::vector<KeySlot> slots, const Timestamp& now) {
  assert(owner.role() == Role::owner);
  // The number of a lost generation must not be given again: what was sealed
  // with its keys would look damaged, and theirs could not be brought back.
  require_no_later_keys_anywhere(storage, owner);
  Generations generations = restrict_to(owner.generations(), Role::owner);
  while (true) {
    const std::uint32_t number = generations.back().number + 1;
    generations.push_back(new_generation(number));
    publish(storage, owner, generations, slots, now);
    // A key that was added meanwhile looked for generations before this one was
    // there, or takes itself back; one that was removed has these keys.
    auto now_there = slots_to_grant(storage, owner);
    if (keys_of(now_there) == keys_of(slots)) return number;
    slots = std::move(now_there);
  }
}

}  // namespace cairn::repo
