// What a key may do (FORMAT.md, 6.4).
#pragma once

#include <cstdint>
#include <string_view>

#include "repo/blob.h"

namespace cairn::repo {

enum class Role : std::uint8_t {
  owner = 0,
  restore = 1,
  list = 2,
  maintain = 3,
  write = 4,
};

[[nodiscard]] std::string_view name_of(Role role) noexcept;

// True if who has that role reads blobs of that class.
[[nodiscard]] bool reads(Role role, KeyClass key_class) noexcept;

}  // namespace cairn::repo
