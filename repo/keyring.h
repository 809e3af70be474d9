// The keys that one role holds (FORMAT.md, 8.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "crypto/signature.h"
#include "repo/blob.h"
#include "repo/config.h"
#include "repo/generation.h"
#include "repo/ids.h"
#include "repo/role.h"

namespace cairn::repo {

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

  // What a key slot seals, as plain bytes (FORMAT.md, 6.4), which the caller
  // wipes; and back. Throws CorruptionError, in which `name` is the slot's.
  // `slot_secret` is the slot's own key.
  [[nodiscard]] std::vector<std::byte> bundle(
      const crypto::Secret& slot_secret) const;
  static Keyring from_bundle(std::span<const std::byte> bundle,
                             std::string_view name);

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
  // Those of many blobs of a kind, which takes less time than one by one. With
  // `take`, each goes there as soon as it is known, in any order.
  [[nodiscard]] std::vector<BlobId> ids_of(
      BlobKind kind, std::span<const std::span<const std::byte>> plains) const;
  using TakeId = std::function<void(std::size_t number, const BlobId& id)>;
  void ids_of(BlobKind kind, std::span<const std::span<const std::byte>> plains,
              const TakeId& take) const;

  [[nodiscard]] const crypto::Secret& cutter_key() const noexcept;

  // What the config must say of how content is cut.
  [[nodiscard]] const CutSizes& cut_sizes() const noexcept;

  // All of them; the one to seal with; the one with that number, or nothing.
  [[nodiscard]] const Generations& generations() const noexcept;
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
  void set_opened_slot(const KeySlotId& slot);

  // What opens whatever was granted to that slot later (6.16). Requires: these
  // keys came out of a bundle.
  [[nodiscard]] const crypto::Secret& slot_secret() const noexcept;
  void set_generations(Generations generations);

  // Why later generations than the newest here cannot be had, if there are any:
  // then these keys read what was sealed before, and must seal nothing.
  [[nodiscard]] const std::optional<std::string>& later_keys_lost()
      const noexcept;
  void set_later_keys_lost(std::string why);

  // True if this role may read blobs of that class.
  [[nodiscard]] bool can_read(KeyClass key_class) const noexcept;

 private:
  struct State;
  explicit Keyring(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
