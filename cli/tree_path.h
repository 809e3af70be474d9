// Paths in the tree of a snapshot, as they are compared: without the slashes at
// their ends. The empty one is all of it.
#pragma once

#include <string_view>

namespace cairn::cli {

[[nodiscard]] std::string_view without_slashes(std::string_view path) noexcept;

// True if `inner` is `outer` or lies below it.
[[nodiscard]] bool is_within(std::string_view inner,
                             std::string_view outer) noexcept;

}  // namespace cairn::cli
