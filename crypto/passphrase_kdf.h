// From something a person remembers to a key: Argon2id (libsodium).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "crypto/digest.h"
#include "crypto/secret.h"

namespace cairn::crypto {

inline constexpr std::size_t kSaltBytes = 16;
using Salt = std::array<std::byte, kSaltBytes>;

// What one guess costs. The bounds are checked before memory is taken, because
// the numbers come from a file that an attacker may have written: too high
// would exhaust the machine, too low would give the passphrase away.
struct PassphraseCost {
  std::uint32_t passes = 3;
  std::uint64_t memory_bytes = std::uint64_t{64} << 20;

  static constexpr std::uint32_t kMinPasses = 2;
  static constexpr std::uint32_t kMaxPasses = 32;
  static constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{64} << 20;
  static constexpr std::uint64_t kMaxMemoryBytes = std::uint64_t{1} << 30;

  [[nodiscard]] bool is_within_bounds() const noexcept;
  bool operator==(const PassphraseCost&) const = default;
};

// 64 bytes of Argon2id output: the key, and a commitment to it. An AEAD alone
// would let one sealed text open under several keys; comparing the commitment
// first rules that out and tells a wrong passphrase from a damaged slot.
struct StretchedPassphrase {
  Secret key;
  Digest commitment;
};

// Requires: cost.is_within_bounds(). Throws std::bad_alloc when the memory is
// not to be had. The memory is given back before this returns.
[[nodiscard]] StretchedPassphrase stretch(std::string_view passphrase,
                                          const Salt& salt,
                                          const PassphraseCost& cost);

}  // namespace cairn::crypto
