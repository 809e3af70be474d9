// Where the configuration file is, and what the secrets are that it points to.
//
//   -c FILE, CAIRN_CONFIG               the one, which has to be there
//   $XDG_CONFIG_HOME/cairn/cairn.yaml   (~/.config), then
//   /etc/cairn/cairn.yaml               where nothing was said
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/output.h"
#include "cli/passphrase.h"
#include "cli/usage_error.h"

namespace cairn::cli {

// A file that is wrong; the message tells of all mistakes, a line each.
struct ConfigurationError : UsageError {
  ConfigurationError(const std::string& what, std::string of_file,
                     config::Mistakes all);

  std::string file;
  config::Mistakes mistakes;
};

// The places that are looked at where no file was named, in their order.
[[nodiscard]] std::vector<std::filesystem::path> usual_configuration_files();

// `given` is what -c named. Nothing: no file was named, and none is at the
// usual places. Names need not be those of files that are there.
[[nodiscard]] std::optional<std::filesystem::path> configuration_file(
    const std::optional<std::string>& given);

// Throws ConfigurationError; UsageError when it cannot be read or is no file;
// repo::RefusedForSafety when somebody else may write it: what it says is run.
[[nodiscard]] config::Configuration load_configuration(
    const std::filesystem::path& file);

// For what a flag adds and a file without schedule and rules does not need:
// throws UsageError where neither file nor machine say the zone.
void require_time_zone(const config::Configuration& configuration);

// Throws repo::WrongKey when there is none, saying where it should have been.
[[nodiscard]] SecretText read_secret(const config::SecretPlace& place,
                                     Output& output);

}  // namespace cairn::cli
