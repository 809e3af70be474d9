// Secrets that the configuration file has from variables ({env: NAME}): taken
// out of the environment, so that neither the programs that we start nor /proc
// show them.
//
// Ownership      they live as long as the program, and are wiped at its end.
// Threads        taken before any other thread is started.
#pragma once

#include <string>

#include "cli/config/configuration.h"
#include "cli/passphrase.h"

namespace cairn::cli {

// All that the configuration names. For a program that starts none which reads
// the same configuration: that would find them gone.
void take_secret_variables(const config::Configuration& configuration);

// Null: it was not taken.
[[nodiscard]] const SecretText* taken_secret(const std::string& variable);

}  // namespace cairn::cli
