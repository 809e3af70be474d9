// Authenticated encryption: XChaCha20-Poly1305, one cipher for everything.
//
// No function here takes a nonce. The nonce is the first 24 bytes of SHA-256 of
// the associated data, so it cannot be forgotten, repeated by a refactoring or
// chosen badly; what the caller owes is that the same key never meets the same
// associated data with two different plaintexts. Every user of a key says in
// FORMAT.md section 8 why that holds.
#pragma once

#include <cstddef>
#include <span>

#include "crypto/secret.h"

namespace cairn::crypto {

// What sealing adds: the tag, at the end.
inline constexpr std::size_t kTagBytes = 16;

// Writes plain.size() + kTagBytes bytes to `sealed`, which must be that long
// and may start at the same address as `plain`, but not overlap it otherwise.
void seal(const Secret& key, std::span<const std::byte> associated_data,
          std::span<const std::byte> plain, std::span<std::byte> sealed);

// Writes sealed.size() - kTagBytes bytes to `plain`, which must be that long
// (empty, when there are not even bytes enough for a tag) and may start at the
// same address as `sealed`. False, with nothing useful in `plain`: these bytes
// were not sealed with this key and this associated data. The caller knows
// whether that means damage or a wrong key.
[[nodiscard]] bool open(const Secret& key,
                        std::span<const std::byte> associated_data,
                        std::span<const std::byte> sealed,
                        std::span<std::byte> plain);

}  // namespace cairn::crypto
