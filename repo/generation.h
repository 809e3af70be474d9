// The keys that seal. Ids and cuts stay for life; these can be renewed: what is
// written later is sealed with the next generation, and what lies there stays
// readable with the one it was sealed with (FORMAT.md, 6.4 and 8.1).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "crypto/secret.h"
#include "crypto/wrap.h"
#include "repo/blob.h"
#include "repo/cbor.h"
#include "repo/role.h"

namespace cairn::repo {

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

// Ascending by number; not empty.
using Generations = std::vector<Generation>;

[[nodiscard]] Generation new_generation(std::uint32_t number);

// The part that a role gets of what an owner has.
[[nodiscard]] Generations restrict_to(const Generations& whole, Role role);

// Keys: the writer has to have room, or growing leaves copies of them behind.
[[nodiscard]] std::size_t max_encoded_bytes(const Generations& generations);
void write(CborWriter& out, const Generations& generations);
[[nodiscard]] Generations read_generations(CborReader& in);

// 32 bytes.
[[nodiscard]] crypto::Secret read_secret(CborReader& in);

}  // namespace cairn::repo
