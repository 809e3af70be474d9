// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed function from bytes to 64
// bits that nobody can predict without the key. Small enough to have it here,
// so that cutting depends on no package.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace cairn::chunker {

// The 16 key bytes, read as two little-endian numbers.
struct SipHashKey {
  std::uint64_t low;
  std::uint64_t high;
};

// Not byte by byte with shifts: g++ 12 at -O3 leaves that as it stands.
[[nodiscard]] inline std::uint64_t load_le64(const std::byte* bytes) noexcept {
  std::uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  if constexpr (std::endian::native == std::endian::big) {
    value = __builtin_bswap64(value);
  }
  return value;
}

// In the header, because a constant size lets the compiler unroll it.
[[nodiscard]] inline std::uint64_t siphash_2_4(
    const SipHashKey& key, std::span<const std::byte> bytes) noexcept {
  std::uint64_t v0 = key.low ^ 0x736f6d6570736575U;
  std::uint64_t v1 = key.high ^ 0x646f72616e646f6dU;
  std::uint64_t v2 = key.low ^ 0x6c7967656e657261U;
  std::uint64_t v3 = key.high ^ 0x7465646279746573U;
  const auto round = [&] {
    v0 += v1, v1 = std::rotl(v1, 13), v1 ^= v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16), v3 ^= v2;
    v0 += v3, v3 = std::rotl(v3, 21), v3 ^= v0;
    v2 += v1, v1 = std::rotl(v1, 17), v1 ^= v2, v2 = std::rotl(v2, 32);
  };
  const auto absorb = [&](std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  };

  const std::size_t whole_words = bytes.size() / 8;
  for (std::size_t i = 0; i < whole_words; ++i) {
    absorb(load_le64(bytes.data() + 8 * i));
  }
  std::uint64_t last_word = std::uint64_t{bytes.size()} << 56;
  for (std::size_t i = 8 * whole_words; i < bytes.size(); ++i) {
    last_word |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i % 8));
  }
  absorb(last_word);

  v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace cairn::chunker
