// Tells whoever the configuration names how runs went: a webhook, a program, or
// both (docs/monitoring/README.md has what they get).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/output.h"

namespace cairn::cli {

inline constexpr std::string_view kWebhookChannel = "webhook";
inline constexpr std::string_view kCommandChannel = "command";

// Those that are configured.
[[nodiscard]] std::vector<std::string> channels_of(
    const config::Monitoring& monitoring);

// Waits no longer than the channel's timeout. Empty: it was told; else why not,
// without the URL, which may be a secret.
[[nodiscard]] std::string deliver(const std::string& channel,
                                  const std::string& body,
                                  const config::Monitoring& monitoring,
                                  Output& output);

}  // namespace cairn::cli
