// The one source of randomness.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace cairn::crypto {

// Fills `out` with bytes nobody can guess.
void fill_random(std::span<std::byte> out);

template <std::size_t kSize>
[[nodiscard]] std::array<std::byte, kSize> random_array() {
  std::array<std::byte, kSize> bytes;
  fill_random(bytes);
  return bytes;
}

}  // namespace cairn::crypto
