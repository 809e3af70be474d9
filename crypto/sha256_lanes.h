// Whole blocks of several SHA-256 computations side by side. One alone spends
// more than half of its time waiting for the answer of the last SHA
// instruction; four fill each other's gaps, and sixteen fill the registers of
// AVX-512, which has no such instruction and is nearly twice as fast even so
// (docs/decisions/0021). Internal to crypto/; here so that the tests can
// compare it with OpenSSL.
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

inline constexpr std::size_t kMaxSha256Lanes = 16;

// How many lanes add_blocks() takes on this machine: none where it lacks the
// instructions for what follows, else up to kMaxSha256Lanes.
[[nodiscard]] std::size_t sha256_lanes() noexcept;

// Adds so many blocks of each lane to its state and takes them off its front.
// The more lanes, the more bytes in the same time.
// Requires: 1 to sha256_lanes() lanes, each with that many blocks.
void add_blocks(std::span<Sha256Lane> lanes, std::size_t count) noexcept;

// What add_blocks() chooses from, for tests: each does the same for up to
// `lanes` lanes. Only those that this machine can run, the widest last.
struct Sha256Kernel {
  const char* name;
  std::size_t lanes;
  void (*add_blocks)(std::span<Sha256Lane> lanes, std::size_t count) noexcept;
};
[[nodiscard]] std::span<const Sha256Kernel> sha256_kernels() noexcept;

}  // namespace cairn::crypto
