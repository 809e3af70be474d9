// 'cairn restore --at': a PostgreSQL cluster as it was at a moment.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/recovery_request.h"
#include "ingest/recovery_server.h"

namespace cairn::cli {

// What is to be done with the server of a recovered cluster.
using UseRecovered =
    std::function<void(const ingest::RecoveredServer&, const std::stop_token&)>;

// With `use`, the cluster is recovered and its server handed on, and nothing is
// said of what was restored.
//
// Requires: request.target.
[[nodiscard]] ExitCode restore_to_moment(
    const RecoveryRequest& request, const std::optional<std::string>& series,
    const std::string& to, Context& context, const UseRecovered& use = {});

}  // namespace cairn::cli
