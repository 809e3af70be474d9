// The first stage of content-defined cutting: a cheap hash at every position
// picks the few that the second stage looks at. Internal to chunker/; here so
// that the tests can compare every kernel with a slow, obvious one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

// Calls visit(i) for each mark that is set in [from, end), ascending, until it
// answers true; answers whether it did. Marks are few: whole cache lines of
// them are passed over at once.
//
// Requires: from a multiple of 8; end <= kTileBytes.
template <typename Visit>
bool any_mark(const CandidateMarks& marks, std::size_t from, std::size_t end,
              Visit visit) {
  constexpr std::size_t kWord = 8;
  constexpr std::size_t kLine = 64;
  const auto word_at = [&](std::size_t i) {
    std::uint64_t word;
    std::memcpy(&word, &marks[i], sizeof word);
    return word;
  };
  const auto line_is_empty = [&](std::size_t i) {
    std::uint64_t all = 0;
    for (std::size_t k = 0; k < kLine; k += kWord) all |= word_at(i + k);
    return all == 0;
  };
  std::size_t i = from;
  while (i < end) {
    if (i % kLine == 0 && line_is_empty(i)) {
      i += kLine;
      continue;
    }
    if (word_at(i) != 0) {
      const std::size_t word_end = std::min(i + kWord, end);
      for (std::size_t k = i; k < word_end; ++k) {
        if (marks[k] != 0 && visit(k)) return true;
      }
    }
    i += kWord;
  }
  return false;
}

// Those that this machine can run, fastest first. All give the same marks.
[[nodiscard]] std::span<const CandidateKernel> candidate_kernels();

}  // namespace cairn::chunker
