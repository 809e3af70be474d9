// The kernel of sha256_lanes.h for processors with AVX-512.
#pragma once

#include <cstddef>
#include <span>

#include "crypto/sha256_lanes.h"

namespace cairn::crypto {

inline constexpr std::size_t kSha256Avx512Lanes = 16;  // of 32 bits

[[nodiscard]] bool has_avx512_for_sha256() noexcept;

// Requires: has_avx512_for_sha256(), 1 to kSha256Avx512Lanes lanes, each with
// so many blocks.
void add_blocks_with_avx512(std::span<Sha256Lane> lanes,
                            std::size_t count) noexcept;

}  // namespace cairn::crypto
