// What the values of an RDB consist of, for whoever passes over them: tables of
// every type that servers up to Redis 7.4 and Valkey 8 write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cairn::ingest {

enum class RdbKind { string, list, set, sorted_set, hash, stream, module };
inline constexpr std::size_t kRdbKinds = 7;
// "zset" for a sorted set: as the command TYPE calls them.
[[nodiscard]] std::string_view name_of(RdbKind kind) noexcept;

// A part of a value.
struct RdbStep {
  enum class What {
    string,
    length,
    bytes,      // so many
    score,      // of a sorted set, as text
    repeat,     // a length, and so many times what is inside
    module,     // the name of one, as a number
    module_end  // parts of a module's value, each with its kind, to their end
  };
  What what = What::string;
  std::uint8_t size = 0;
  std::span<const RdbStep> inside = {};
};
using RdbSteps = std::span<const RdbStep>;

struct RdbValueType {
  std::uint8_t number = 0;
  RdbKind kind = RdbKind::string;
  RdbSteps steps;      // without the key
  unsigned since = 0;  // this version of the format
};

// Null: there is none of that number in that version of the format.
[[nodiscard]] const RdbValueType* find_rdb_value(std::uint8_t number,
                                                 unsigned version) noexcept;

// What stands in an RDB beside keys and values.
[[nodiscard]] RdbSteps rdb_string() noexcept;
[[nodiscard]] RdbSteps rdb_aux_field() noexcept;
[[nodiscard]] RdbSteps rdb_module_aux() noexcept;
[[nodiscard]] RdbSteps rdb_slot_info() noexcept;

}  // namespace cairn::ingest
