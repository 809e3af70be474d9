#include "ingest/redis_names.h"

#include <algorithm>
#include <cstddef>

#include "repo/cbor.h"

namespace cairn::ingest {

std::optional<std::string> checked_redis_name(std::string_view name) {
  // With what follows it, of a base or of what is moved aside, it is one still.
  constexpr std::size_t kLongest = 200;
  constexpr char kDelete = 0x7F;
  if (name.empty() || name.size() > kLongest || name.starts_with('.')) {
    return std::nullopt;
  }
  const bool is_strange = std::ranges::any_of(name, [](char c) {
    return c == '/' || c == kDelete || (c >= 0 && c < ' ');
  });
  if (is_strange || repo::as_utf8(name) != name) return std::nullopt;
  return std::string(name);
}

}  // namespace cairn::ingest
