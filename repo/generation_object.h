// What brings renewed keys to whoever may have them (FORMAT.md, 6.16): for each
// key slot all generations so far, sealed for the slot's own key. So an owner
// can renew the keys without knowing what opens the slots of others.
//
//   generations/<n>, generations/<n>.copy    the same bytes, since whoever
//   loses
//                                            both loses what was written since
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "crypto/signature.h"
#include "crypto/wrap.h"
#include "repo/entry.h"
#include "repo/error.h"
#include "repo/generation.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

inline constexpr std::uint64_t kMaxGenerationBytes = std::uint64_t{4} << 20;
inline constexpr std::string_view kGenerationsFolder = "generations";

// For one slot.
struct Grant {
  crypto::PublicKey slot{};
  Role role = Role::owner;
  crypto::Wrapped key{};  // for the slot: of what is sealed
  std::vector<std::byte>
      sealed;  // the generations, as far as the role has them
};

struct GenerationObject {
  std::uint32_t number = 0;  // of the newest generation in it
  Timestamp created;
  std::vector<Grant> grants;
};

// Its two names; by name, or 0: cairn gives no such name.
[[nodiscard]] std::array<std::string, 2> generation_names(std::uint32_t number);
[[nodiscard]] std::uint32_t generation_number(std::string_view name);

// Ascending, each once.
[[nodiscard]] std::vector<std::uint32_t> list_generations(
    const Storage& storage);

// All generations up to `object`'s, for that slot. Opened by the slot's secret
// key; nothing: there is no grant for it. Throws CorruptionError.
[[nodiscard]] Grant make_grant(const Generations& generations, Role role,
                               const crypto::PublicKey& slot,
                               const RepositoryId& repository);
[[nodiscard]] std::optional<Generations> open_grant(
    const GenerationObject& object, const crypto::Secret& slot_secret,
    const RepositoryId& repository);

// What is signed, and back; throws CorruptionError.
[[nodiscard]] std::vector<std::byte> encode(const GenerationObject& object);
[[nodiscard]] GenerationObject decode_generation(
    std::span<const std::byte> bytes, std::string_view name);

// The object, signed by the root key, which `owner` has to hold; and back.
// Throws CorruptionError, also when the root key did not sign it or it has
// another number.
[[nodiscard]] std::vector<std::byte> sign_generation(
    const GenerationObject& object, const Keyring& owner);
[[nodiscard]] GenerationObject open_generation(
    std::span<const std::byte> bytes, std::uint32_t number,
    const RepositoryId& repository, const crypto::VerifyKey& root_key,
    std::string_view name);

// The first of the two that is sound. Throws NotFound, CorruptionError.
[[nodiscard]] GenerationObject read_generation_object(
    const Storage& storage, std::uint32_t number,
    const RepositoryId& repository, const crypto::VerifyKey& root_key);

// "keys of generation 3, which this run does not have; ...", with what to do.
[[nodiscard]] std::string missing_keys(std::uint32_t generation);

// Throws LockedError if there are later keys than these that can be had, which
// were renewed since these were opened: who runs again has them. For who met
// something that these do not open, or misses what may lie in such a pack.
void require_not_renewed(const Storage& storage, const Keyring& keyring);

// Runs `work`. Where it ends for want of later keys, as require_not_renewed().
template <typename Work>
std::invoke_result_t<Work> unless_renewed(const Storage& storage,
                                          const Keyring& keyring, Work work) {
  try {
    return work();
  } catch (const MissingKeys&) {
    require_not_renewed(storage, keyring);
    throw;
  }
}

// Writes those anew of which one of the two is lost or damaged, and removes
// those that a newer one, of which both are sound, replaces.
void mend_generation_objects(Storage& storage, const Keyring& keyring);

// Gives a keyring that came out of a slot what was granted to that since, as
// far as it can be read (Keyring::later_keys_lost()). Throws WrongKey when the
// slot was left out: whoever was granted nothing could neither read what is
// written now nor write what others should read.
void take_granted_generations(const Storage& storage, Keyring& keyring);

}  // namespace cairn::repo
