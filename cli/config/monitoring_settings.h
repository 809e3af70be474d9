// What a configuration says of looking after what it has run.
#pragma once

#include "cli/config/configuration.h"

namespace cairn::cli::config {

// From `made.settings`, which are right each by itself; what is not set stays
// as it is. What is wrong goes to `mistakes`.
void read_monitoring(Configuration& made, Mistakes& mistakes);

}  // namespace cairn::cli::config
