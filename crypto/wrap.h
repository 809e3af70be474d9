// Giving a session's key to whoever may read that class of data, and to nobody
// else, not even to the writer itself afterwards: X25519 sealed boxes
// (libsodium's crypto_box_seal).
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include "crypto/secret.h"

namespace cairn::crypto {

inline constexpr std::size_t kPublicKeyBytes = 32;
inline constexpr std::size_t kWrappedBytes = 80;  // of a 32-byte secret

using PublicKey = std::array<std::byte, kPublicKeyBytes>;
using Wrapped = std::array<std::byte, kWrappedBytes>;

// The public half of an X25519 secret key.
[[nodiscard]] PublicKey public_key_of(const Secret& secret_key);

// Fresh randomness makes every result another one. Throws std::invalid_argument
// for a public key that no secret key belongs to.
[[nodiscard]] Wrapped wrap(const Secret& secret, const PublicKey& reader);

// Nothing: not wrapped for this reader, or damaged.
[[nodiscard]] std::optional<Secret> unwrap(const Wrapped& wrapped,
                                           const Secret& reader_secret_key);

}  // namespace cairn::crypto
