// RDBs made by hand: what no server that is installed here writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "ingest/crc64.h"

namespace cairn::testing_support {

inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Bytes by their numbers: chars(0xfe, 0).
template <typename... Numbers>
std::string chars(Numbers... numbers) {
  return {static_cast<char>(numbers)...};
}

// A string of less than 64 bytes.
inline std::string rdb_string(std::string_view text) {
  return chars(text.size()) + std::string(text);
}

inline std::string little_endian(std::uint64_t value) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += chars((value >> (8 * i)) & 0xffU);
  return text;
}

// With the end and the checksum that belong to it.
inline std::string whole_rdb(std::string_view magic, std::string_view inside) {
  std::string all = std::string(magic) + std::string(inside) + "\xff";
  ingest::Crc64 crc;
  crc.add(std::as_bytes(std::span(all)));
  return all + little_endian(crc.value());
}

// One that a real server wrote.
inline std::string real_rdb(const std::string& name) {
  std::ifstream in(
      std::string(CAIRN_GOLDEN_DIR) + "/../fuzz/corpus/rdb_scanner/" + name,
      std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace cairn::testing_support
