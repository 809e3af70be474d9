// CRC-64 (Jones), by which Redis checks its dumps. It guards against accidents;
// what has to stand against people is sealed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::ingest {

class Crc64 {
 public:
  void add(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::uint64_t value() const noexcept { return state_; }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace cairn::ingest
