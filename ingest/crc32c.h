// CRC-32C (Castagnoli), by which PostgreSQL checks its records. It guards
// against accidents; what has to stand against people is sealed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::ingest {

class Crc32c {
 public:
  void add(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::uint32_t value() const noexcept { return ~state_; }

 private:
  std::uint32_t state_ = ~std::uint32_t{0};
};

}  // namespace cairn::ingest
