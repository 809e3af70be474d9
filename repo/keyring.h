// The keys that one role holds, and the slots in which they are kept: wrapped
// by a passphrase or by a key file (FORMAT.md, 6.4 and 8.1).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "crypto/passphrase_kdf.h"
#include "crypto/secret.h"
#include "crypto/signature.h"
#include "crypto/wrap.h"
#include "repo/blob.h"
#include "repo/config.h"
#include "repo/ids.h"
#include "repo/storage.h"

namespace cairn::repo {

enum class Role : std::uint8_t {
  owner = 0,
  restore = 1,
  list = 2,
  maintain = 3,
  write = 4,
};

[[nodiscard]] std::string_view name_of(Role role) noexcept;

// One set of sealing keys. Public halves seal, secret halves open; which
// secrets are there depends on the role.
struct Generation {
  static constexpr std::size_t kClasses = 3;

  std::uint32_t number = 0;
  crypto::Secret index_key;
  std::array<crypto::PublicKey, kClasses> public_keys;  // by KeyClass
  std::array<std::optional<crypto::Secret>, kClasses> secret_keys;

  [[nodiscard]] const std::optional<crypto::Secret>& secret_of(
      KeyClass key_class) const {
    return secret_keys[static_cast<std::size_t>(key_class)];
  }
};

// Threads        const members from many threads.
class Keyring {
 public:
  // Fresh keys for a new repository of a new family, and of the family of
  // another repository, whose ids and cuts it then shares.
  static Keyring create();
  static Keyring create_like(const Keyring& sister);

  // The same repository for a smaller role: with that role's secrets, its own
  // signing seed, and a certificate by this keyring, which must be an owner's.
  [[nodiscard]] Keyring for_role(Role role) const;

  Keyring(Keyring&&) noexcept;
  Keyring& operator=(Keyring&&) noexcept;
  ~Keyring();

  [[nodiscard]] Role role() const noexcept;
  [[nodiscard]] const RepositoryId& repository() const noexcept;
  [[nodiscard]] const FamilyId& family() const noexcept;
  [[nodiscard]] const crypto::VerifyKey& root_key() const noexcept;

  // The id of a blob with these plain bytes.
  [[nodiscard]] BlobId id_of(BlobKind kind,
                             std::span<const std::byte> plain) const;
  // Those of many blobs of a kind, which takes less time than one by one.
  [[nodiscard]] std::vector<BlobId> ids_of(
      BlobKind kind, std::span<const std::span<const std::byte>> plains) const;

  [[nodiscard]] const crypto::Secret& cutter_key() const noexcept;

  // What the config must say of how content is cut.
  [[nodiscard]] const CutSizes& cut_sizes() const noexcept;

  // The generation to seal with; the one with that number, or nothing.
  [[nodiscard]] const Generation& newest() const noexcept;
  [[nodiscard]] const Generation* find(std::uint32_t generation) const noexcept;
  [[nodiscard]] const Generation& oldest() const noexcept;

  [[nodiscard]] const crypto::Secret& signing_seed() const noexcept;
  // What names this role key to others.
  [[nodiscard]] crypto::VerifyKey role_key() const;
  [[nodiscard]] const std::optional<crypto::Signature>& role_certificate()
      const noexcept;

  // The slot that these keys came out of; nothing: they came out of none.
  [[nodiscard]] const std::optional<KeySlotId>& opened_slot() const noexcept;

  // True if this role may read blobs of that class.
  [[nodiscard]] bool can_read(KeyClass key_class) const noexcept;

 private:
  friend struct KeyringCodec;
  struct State;
  explicit Keyring(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The 32 bytes of a key file, and its text form (FORMAT.md, 6.5).
[[nodiscard]] std::string key_file_text(const crypto::Secret& key);
[[nodiscard]] std::optional<crypto::Secret> parse_key_file(
    std::string_view text);

enum class KeyMethod : std::uint8_t { passphrase = 0, key_file = 1 };

[[nodiscard]] std::string_view name_of(KeyMethod method) noexcept;

// What can be said of a slot without opening it.
struct KeySlot {
  KeySlotId id;
  Role role = Role::owner;
  KeyMethod method = KeyMethod::passphrase;
  std::string label;
  Timestamp created;
};

// Of one that is damaged nobody can tell whose it was.
struct DamagedKeySlot {
  KeySlotId id;
  std::string what;  // with its name
};

struct KeySlotList {
  std::vector<KeySlot> slots;  // of the roles that are known
  std::vector<DamagedKeySlot> damaged;
};

// Throws CorruptionError when there are too many.
[[nodiscard]] KeySlotList list_key_slots(const Storage& storage);

// Adds a slot with the keys of `keyring`, verified by opening it again.
KeySlotId add_passphrase_slot(Storage& storage, const Keyring& keyring,
                              std::string_view passphrase,
                              const crypto::PassphraseCost& cost,
                              std::string_view label, const Timestamp& now);
KeySlotId add_key_file_slot(Storage& storage, const Keyring& keyring,
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
