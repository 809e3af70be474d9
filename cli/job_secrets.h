// The secrets that a run of a job reads, by the places that the configuration
// names; never what they are.
#pragma once

#include <vector>

#include "cli/config/configuration.h"

namespace cairn::cli {

// Of its repository, its sources and what is told of it. They point into `all`.
[[nodiscard]] std::vector<const config::SecretPlace*> secrets_of(
    const config::Job& job, const config::Configuration& all);

}  // namespace cairn::cli
