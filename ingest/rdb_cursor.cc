#include "ingest/rdb_cursor.h"

namespace cairn::ingest {
namespace {

// A length, or the encoding of the string that follows.
struct Length {
  std::uint64_t value = 0;
  bool is_encoding = false;
};

Length length_at(RdbCursor& cursor) {
  constexpr std::uint64_t k32 = 0x80;
  constexpr std::uint64_t k64 = 0x81;
  const std::uint64_t first = cursor.big_endian(1);
  const std::uint64_t rest = first & 0x3fU;
  switch (first >> 6U) {
    case 0:
      return {rest};
    case 1:
      return {rest << 8U | cursor.big_endian(1)};
    case 3:
      return {rest, true};
    default:
      if (first == k32) return {cursor.big_endian(4)};
      if (first == k64) return {cursor.big_endian(8)};
      rdb_is_malformed("a length");
  }
}

}  // namespace

void rdb_is_malformed(const std::string& what) {
  throw CannotWalkRdb{what + " in it is not as the format has it", true};
}

std::uint64_t rdb_length(RdbCursor& cursor) {
  const auto length = length_at(cursor);
  if (length.is_encoding) rdb_is_malformed("a length");
  return length.value;
}

RdbStringHead rdb_string_head(RdbCursor& cursor) {
  constexpr std::uint64_t kCompressed = 3;
  const auto length = length_at(cursor);
  if (!length.is_encoding) return {.bytes = length.value};
  if (length.value == kCompressed) {
    const std::uint64_t compressed = rdb_length(cursor);
    (void)rdb_length(cursor);
    return {.bytes = compressed, .is_plain = false};
  }
  switch (length.value) {
    case 0:
      return {.number = static_cast<std::int8_t>(cursor.little_endian(1))};
    case 1:
      return {.number = static_cast<std::int16_t>(cursor.little_endian(2))};
    case 2:
      return {.number = static_cast<std::int32_t>(cursor.little_endian(4))};
    default:
      rdb_is_malformed("a string");
  }
}

}  // namespace cairn::ingest
