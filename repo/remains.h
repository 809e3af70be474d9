// What is left of a repository where no config is, by the names alone.
#pragma once

#include <string_view>

#include "repo/storage.h"

namespace cairn::repo {

enum class Remains {
  none,  // at most what is no object of ours
  keys,  // and nothing that they open: so does an init leave it that was killed
  data,
};

// Requires: neither config is there.
[[nodiscard]] Remains remains_in(const Storage& storage);

inline constexpr std::string_view kKeysAlone =
    "keys, and nothing that they open; where 'cairn init' was cut short, "
    "remove the folder and begin anew";

}  // namespace cairn::repo
