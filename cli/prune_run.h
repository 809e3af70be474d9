// A prune from the plan to its report, for `prune` and for `forget --prune`.
#pragma once

#include <span>

#include "cli/context.h"
#include "cli/exit_code.h"
#include "repo/prune.h"

namespace cairn::cli {

// What --json brings: lines of the types plan and summary, or nothing, because
// the caller's own JSON is all there may be.
enum class PruneReport { json_lines, text_only };

// Dry runs, Ctrl-C and progress included. Lowers the priority of what this
// process does from now on. A dry run plans as if the snapshots
// given were forgotten too.
[[nodiscard]] ExitCode run_prune(
    repo::Repository& repository, const repo::PruneOptions& options,
    PruneReport report, Context& context,
    std::span<const repo::SessionId> as_if_forgotten = {});

}  // namespace cairn::cli
