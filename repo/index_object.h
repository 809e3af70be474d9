// Directories of several packs in one object (FORMAT.md, 6.7): what lets a
// machine learn what is stored without reading every pack. An accelerator;
// losing all of them loses nothing.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/signature.h"
#include "repo/blob.h"
#include "repo/config.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/storage.h"

namespace cairn::repo {

inline constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{32} << 20;

// A writer starts a new object when one would hold more rows than this, so that
// nobody needs much memory to read it.
inline constexpr std::size_t kRowsPerIndexObject = 65'536;

// For whom packs count as verified: a program opened, decoded and compared with
// its id each blob in them, or moved them sealed out of packs for which that
// held. Only such packs are used again by others than who wrote them.
struct Assurance {
  enum class Reach : std::uint8_t { nobody, one_key, everyone };

  Reach reach = Reach::nobody;
  crypto::VerifyKey role_key{};  // of one_key

  [[nodiscard]] static Assurance for_everyone();
  [[nodiscard]] static Assurance for_key(const crypto::VerifyKey& role_key);

  // What a writer says of packs that it has read back.
  [[nodiscard]] static Assurance by(const Keyring& keyring);

  // True if packs with this assurance are verified for who holds that role key.
  [[nodiscard]] bool covers(const crypto::VerifyKey& reader) const noexcept;

  auto operator<=>(const Assurance&) const = default;
};

// True for the roles whose word counts for others.
[[nodiscard]] bool may_vouch_for_all(Role role) noexcept;

struct IndexObject {
  SessionId session;
  std::vector<IndexedPack> packs;
  Assurance assurance = {};
};

[[nodiscard]] std::string index_name(const IndexId& id);

// Seals, signs, publishes; durable when it returns.
IndexId publish_index(Storage& storage, const Keyring& keyring,
                      const Signer& signer, const IndexObject& object);

// Its assurance is what its signer may give: a write key's word counts for that
// key alone. Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] IndexObject read_index(const Storage& storage,
                                     const Keyring& keyring, const IndexId& id);

// All of them, in the order of their names.
[[nodiscard]] std::vector<IndexId> list_indexes(const Storage& storage);

// True if none of them went.
[[nodiscard]] bool are_there(const Storage& storage,
                             std::span<const IndexId> ids);

// The generation of keys that it was sealed with, which anybody may read.
// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] std::uint32_t generation_of(const Storage& storage,
                                          const IndexId& id);

// For tests and fuzzing: the plain body.
[[nodiscard]] std::vector<std::byte> encode(const IndexObject& object);
[[nodiscard]] IndexObject decode_index(std::span<const std::byte> body,
                                       std::string_view name);

}  // namespace cairn::repo
