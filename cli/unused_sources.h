// Sources of the configuration file that no job has: whoever wrote them
// believes them saved.
#pragma once

#include <string>
#include <vector>

#include "cli/config/configuration.h"

namespace cairn::cli {

// A line for each.
[[nodiscard]] std::vector<std::string> notices_of_unused_sources(
    const config::Configuration& all);

}  // namespace cairn::cli
