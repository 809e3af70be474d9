#include "ingest/crc32c.h"

#include <array>

#include "repo/wire.h"

namespace cairn::ingest {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // its bits in reverse
constexpr std::size_t kSlices = 8;

using Table = std::array<std::uint32_t, 256>;

// The k-th is for a byte that k others follow.
constexpr std::array<Table, kSlices> make_tables() {
  std::array<Table, kSlices> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][i] = crc;
  }
  for (std::size_t k = 1; k < kSlices; ++k) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint32_t before = tables[k - 1][i];
      tables[k][i] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr auto kTables = make_tables();

}  // namespace

void Crc32c::add(std::span<const std::byte> bytes) noexcept {
  std::uint32_t crc = state_;
  while (bytes.size() >= kSlices) {
    const std::uint32_t low = crc ^ repo::wire::get_u32(bytes.first<4>());
    const std::uint32_t high = repo::wire::get_u32(bytes.subspan(4).first<4>());
    crc = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^
          kTables[5][(low >> 16) & 0xff] ^ kTables[4][low >> 24] ^
          kTables[3][high & 0xff] ^ kTables[2][(high >> 8) & 0xff] ^
          kTables[1][(high >> 16) & 0xff] ^ kTables[0][high >> 24];
    bytes = bytes.subspan(kSlices);
  }
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^
          kTables[0][(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  }
  state_ = crc;
}

}  // namespace cairn::ingest
