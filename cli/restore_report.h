// What a restore tells of itself when it has ended.
#pragma once

#include <string>

#include "cli/exit_code.h"
#include "cli/json.h"
#include "cli/output.h"
#include "ingest/restore.h"
#include "repo/snapshot.h"

namespace cairn::cli {

// A line of type `summary`, to which the command may add.
[[nodiscard]] Json summary_of(const ingest::RestoreReport& report,
                              const repo::Snapshot& snapshot,
                              const std::string& target, double seconds,
                              const repo::Timestamp& now);

void print_summary(const ingest::RestoreReport& report,
                   const repo::Snapshot& snapshot, const std::string& target,
                   double seconds, Output& output);

// ok, partial or damage.
[[nodiscard]] ExitCode exit_code_of(const ingest::RestoreReport& report);

}  // namespace cairn::cli
