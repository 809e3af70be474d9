// The first stage of content-defined cutting: a cheap hash at every position
// picks the few that the second stage looks at. Internal to chunker/; here so
// that the tests can compare every kernel with a slow, obvious one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::chunker {

// A position is a candidate when the hash of the 32 bytes before it,
//
//   h = f(newest) + a f(one before) + a^2 f(..) + .. + a^31 f(oldest)  mod 2^16
//   f(b) = t ^ (t >> 8) times `last_factor`, with t = (b + offset) first_factor
//
// is below `limit`. Comparing with a limit asks the top bits; the low ones of
// such a sum hardly mix.
struct CandidateRule {
  std::uint16_t offset;
  std::uint16_t first_factor;
  std::uint16_t last_factor;
  std::uint16_t multiplier;  // a
  std::uint16_t limit;
};

inline constexpr std::size_t kCandidateWindowBytes = 32;

// What a kernel works on at once: its tables stay in the first-level cache.
inline constexpr std::size_t kTileBytes = 2048;

// marks[i] is 1 when the 32 bytes that end with the tile's byte i make a
// candidate, else 0. Entries without 32 bytes, and those past the tile's last
// byte, mean nothing.
using CandidateMarks = std::array<std::uint8_t, kTileBytes>;

struct CandidateKernel {
  const char* name;

  // Requires: tile.size() <= kTileBytes.
  void (*mark)(const CandidateRule& rule, std::span<const std::byte> tile,
               CandidateMarks& marks);
};

// Those that this machine can run, fastest first. All give the same marks.
[[nodiscard]] std::span<const CandidateKernel> candidate_kernels();

}  // namespace cairn::chunker
