// 'cairn restore --at': a PostgreSQL cluster as it was at a moment.
#pragma once

#include <optional>
#include <string>

#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/recovery_request.h"

namespace cairn::cli {

// Requires: request.target.
[[nodiscard]] ExitCode restore_to_moment(
    const RecoveryRequest& request, const std::optional<std::string>& series,
    const std::string& to, Context& context);

}  // namespace cairn::cli
