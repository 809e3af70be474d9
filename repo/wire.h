// Fixed-width little-endian fields; the only code that touches raw integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::repo::wire {

inline void put_u32(std::span<std::byte, 4> out, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) {
    out[i] = static_cast<std::byte>(value >> (8 * i));
  }
}

inline void put_u64(std::span<std::byte, 8> out, std::uint64_t value) {
  for (unsigned i = 0; i < 8; ++i) {
    out[i] = static_cast<std::byte>(value >> (8 * i));
  }
}

[[nodiscard]] inline std::uint32_t get_u32(std::span<const std::byte, 4> in) {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) {
    value |= std::to_integer<std::uint32_t>(in[i]) << (8 * i);
  }
  return value;
}

[[nodiscard]] inline std::uint64_t get_u64(std::span<const std::byte, 8> in) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 8; ++i) {
    value |= std::to_integer<std::uint64_t>(in[i]) << (8 * i);
  }
  return value;
}

}  // namespace cairn::repo::wire
