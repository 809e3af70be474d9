// The numbers that a cutter key stands for (FORMAT.md, section 7). Internal to
// chunker/.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "chunker/candidate_kernels.h"
#include "chunker/chunker.h"
#include "chunker/siphash.h"

namespace cairn::chunker {

// Draws 0, 1, 2, ..: SipHash-2-4 of the draw's number as 8 little-endian bytes,
// under each half of the key, combined by xor, so that every one depends on all
// 32 bytes.
class Draws {
 public:
  explicit Draws(const CutterKey& key)
      : halves_{{load_le64(key.data()), load_le64(key.data() + 8)},
                {load_le64(key.data() + 16), load_le64(key.data() + 24)}} {}

  [[nodiscard]] std::uint64_t at(std::uint8_t number) const {
    const std::array<std::byte, 8> bytes{std::byte{number}};
    return siphash_2_4(halves_[0], bytes) ^ siphash_2_4(halves_[1], bytes);
  }

 private:
  SipHashKey halves_[2];
};

// One position in 2^(16 - limit_bits) is a candidate.
[[nodiscard]] inline CandidateRule candidate_rule(const Draws& draws,
                                                  unsigned limit_bits) {
  const std::uint64_t draw = draws.at(0);
  const auto sixteen_bits = [draw](unsigned from) {
    return static_cast<std::uint16_t>(draw >> from);
  };
  return {.offset = sixteen_bits(0),
          // Odd, so that different bytes stay different.
          .first_factor = static_cast<std::uint16_t>(sixteen_bits(16) | 1),
          .last_factor = static_cast<std::uint16_t>(sixteen_bits(32) | 1),
          // 5 modulo 8: its powers repeat as late as any can, after 2^14.
          .multiplier = static_cast<std::uint16_t>((sixteen_bits(48) & ~7) | 5),
          .limit = static_cast<std::uint16_t>(1U << limit_bits)};
}

}  // namespace cairn::chunker
