// Who wrote this: Ed25519. A signing key is a 32-byte seed, kept as a Secret.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "crypto/secret.h"

namespace cairn::crypto {

inline constexpr std::size_t kVerifyKeyBytes = 32;
inline constexpr std::size_t kSignatureBytes = 64;

using VerifyKey = std::array<std::byte, kVerifyKeyBytes>;
using Signature = std::array<std::byte, kSignatureBytes>;

[[nodiscard]] VerifyKey verify_key_of(const Secret& seed);

[[nodiscard]] Signature sign(const Secret& seed,
                             std::span<const std::byte> message);

[[nodiscard]] bool verify(const VerifyKey& key,
                          std::span<const std::byte> message,
                          const Signature& signature) noexcept;

}  // namespace cairn::crypto
