// Whole blocks of several SHA-256 computations side by side. One alone spends
// more than half of its time waiting for the answer of the last SHA
// instruction; four fill each other's gaps (docs/decisions/0021). Internal to
// crypto/; here so that the tests can compare it with OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::crypto {

inline constexpr std::size_t kSha256BlockBytes = 64;

// What FIPS 180-4 calls the hash value H, between two blocks.
struct Sha256Words {
  std::array<std::uint32_t, 8> words = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                        0xa54ff53a, 0x510e527f, 0x9b05688c,
                                        0x1f83d9ab, 0x5be0cd19};
};

struct Sha256Lane {
  Sha256Words state;
  std::span<const std::byte> blocks;  // whole ones, still to be added
};

inline constexpr std::size_t kSha256Lanes = 4;

// True if this machine has the instructions for what follows.
[[nodiscard]] bool has_sha256_lanes() noexcept;

// Adds so many blocks of each lane to its state and takes them off its front.
// Requires: has_sha256_lanes(), 1 to kSha256Lanes lanes, each with that many.
void add_blocks(std::span<Sha256Lane> lanes, std::size_t count) noexcept;

}  // namespace cairn::crypto
