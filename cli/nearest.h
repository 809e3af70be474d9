// What somebody probably meant who mistyped.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cairn::cli {

// The candidate that `word` was probably meant to be; nothing if none is near.
[[nodiscard]] std::optional<std::string> nearest(
    std::string_view word, std::span<const std::string> candidates);

}  // namespace cairn::cli
