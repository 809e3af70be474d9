#include "cli/tree_path.h"

namespace cairn::cli {

std::string_view without_slashes(std::string_view path) noexcept {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

bool is_within(std::string_view inner, std::string_view outer) noexcept {
  return outer.empty() || inner == outer ||
         (inner.starts_with(outer) && inner[outer.size()] == '/');
}

}  // namespace cairn::cli
