// Where keys are kept: in slots, of which each is opened by one passphrase or
// by one key file (FORMAT.md, 6.4).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/passphrase_kdf.h"
#include "crypto/secret.h"
#include "repo/config.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

enum class KeyMethod : std::uint8_t { passphrase = 0, key_file = 1 };

[[nodiscard]] std::string_view name_of(KeyMethod method) noexcept;

// What can be said of a slot without opening it. What an owner grants to it
// later (6.16) is sealed for its public key, which an owner certified.
struct KeySlot {
  KeySlotId id;
  Role role = Role::owner;
  KeyMethod method = KeyMethod::passphrase;
  std::string label;
  Timestamp created;
  crypto::PublicKey public_key{};
  crypto::Signature certificate{};
};

// Of one that is damaged nobody can tell whose it was.
struct DamagedKeySlot {
  KeySlotId id;
  std::string what;  // with its name
};

struct KeySlotList {
  std::vector<KeySlot> slots;  // of the roles that are known
  std::vector<DamagedKeySlot> damaged;
  std::size_t newer = 0;  // of roles and methods that are not known
};

// Throws CorruptionError when there are too many.
[[nodiscard]] KeySlotList list_key_slots(const Storage& storage);

// True if an owner made the slot with that key and role.
[[nodiscard]] bool is_certified(const KeySlot& slot,
                                const RepositoryId& repository,
                                const crypto::VerifyKey& root_key);

// Adds a slot with the keys of that role, verified by opening it again. Throws
// LockedError when the keys were renewed meanwhile.
KeySlotId add_passphrase_slot(Storage& storage, const Keyring& owner, Role role,
                              std::string_view passphrase,
                              const crypto::PassphraseCost& cost,
                              std::string_view label, const Timestamp& now);
KeySlotId add_key_file_slot(Storage& storage, const Keyring& owner, Role role,
                            const crypto::Secret& key, std::string_view label,
                            const Timestamp& now);

// Opens the first slot that this passphrase or key file fits, and compares what
// is inside with `config`. Throws WrongKey when none fits, CorruptionError when
// none does and a slot is damaged.
[[nodiscard]] Keyring open_with_passphrase(const Storage& storage,
                                           const Config& config,
                                           std::string_view passphrase);
[[nodiscard]] Keyring open_with_key_file(const Storage& storage,
                                         const Config& config,
                                         const crypto::Secret& key);

[[nodiscard]] std::string key_slot_name(const KeySlotId& id);

// Throws RefusedForSafety for an owner's slot unless another one opened
// `keyring`: that is what shows that a key is left. Slots cannot be counted
// instead, since nobody can tell by looking which of them open, or whether one
// was copied from another repository.
void must_be_removable(const KeySlot& slot, const Keyring& keyring);

// The same, then removes it. If the slot that opened `keyring` was removed
// meanwhile, by somebody who opened it by this one, this one stays, perhaps
// under another name, and RefusedForSafety is thrown. Wherever it is cut short,
// one of the two is left.
void remove_key_slot(Storage& storage, const Keyring& keyring,
                     const KeySlot& slot);

// One that may have been an owner's goes only when an owner's key, which it is
// not, has opened `keyring`: RefusedForSafety otherwise.
void must_be_removable(const DamagedKeySlot& slot, const Keyring& keyring);
void remove_key_slot(Storage& storage, const Keyring& keyring,
                     const DamagedKeySlot& slot);

}  // namespace cairn::repo
