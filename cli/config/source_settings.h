// A source of the configuration, from settings that are right each by itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config/configuration.h"

namespace cairn::cli::config {

// A series whose last word is this is one of WAL, which rules pass over.
inline constexpr std::string_view kWalName = "wal";

// Requires: setting.shape is that of its type. What is wrong goes to
// `mistakes`; defaults that depend on other settings are added to it.
[[nodiscard]] Source make_source(Setting& setting, const std::string& file,
                                 Mistakes& mistakes);

// Nothing: there is none in that part.
[[nodiscard]] std::optional<SecretPlace> secret_place(const Setting& setting,
                                                      std::string_view part,
                                                      const std::string& file);

// Each once, in the order of the first.
[[nodiscard]] std::vector<std::string> without_repeats(
    const std::vector<std::string>& all);

}  // namespace cairn::cli::config
