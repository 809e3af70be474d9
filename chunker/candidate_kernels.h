// The first stage of content-defined cutting: a cheap hash at every position
// picks the few that the second stage looks at. Internal to chunker/; here so
// that the tests can compare every kernel with a slow, obvious one.
#pragma once

#include <array>
#include <bit>
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

// A bit for each byte of a tile: set when the 32 bytes that end with it make a
// candidate. Those of bytes without 32, and those past the tile's last byte,
// mean nothing.
struct CandidateMarks {
  // Words of 64 bits would be made of two masks of 32: g++ 12 keeps half of one
  // when it runs out of registers, as it does under sanitizers.
  static constexpr std::size_t kWordBits = 32;
  std::array<std::uint32_t, kTileBytes / kWordBits> words;

  [[nodiscard]] bool at(std::size_t i) const noexcept {
    return (words[i / kWordBits] >> (i % kWordBits) & 1) != 0;
  }
  void set(std::size_t i) noexcept {
    words[i / kWordBits] |= std::uint32_t{1} << (i % kWordBits);
  }
};

struct CandidateKernel {
  const char* name;

  // Requires: tile.size() <= kTileBytes.
  void (*mark)(const CandidateRule& rule, std::span<const std::byte> tile,
               CandidateMarks& marks);
};

// Calls visit(i) for each mark that is set in [from, end), ascending, until it
// answers true; answers whether it did. Requires: end <= kTileBytes.
template <typename Visit>
bool any_mark(const CandidateMarks& marks, std::size_t from, std::size_t end,
              Visit visit) {
  constexpr std::size_t kBits = CandidateMarks::kWordBits;
  for (std::size_t begin = from / kBits * kBits; begin < end; begin += kBits) {
    std::uint32_t word = marks.words[begin / kBits];
    if (begin < from) word &= ~std::uint32_t{0} << (from - begin);
    if (end - begin < kBits) word &= ~(~std::uint32_t{0} << (end - begin));
    for (; word != 0; word &= word - 1) {
      if (visit(begin + static_cast<std::size_t>(std::countr_zero(word)))) {
        return true;
      }
    }
  }
  return false;
}

// Those that this machine can run, fastest first. All give the same marks.
[[nodiscard]] std::span<const CandidateKernel> candidate_kernels();

}  // namespace cairn::chunker
