// What a backup tells of itself when it has ended, whatever its sources were.
#pragma once

#include <string>

#include "cli/exit_code.h"
#include "cli/json.h"
#include "cli/output.h"
#include "ingest/backup.h"
#include "repo/entry.h"

namespace cairn::cli {

// A line of type `summary`, to which the command may add.
[[nodiscard]] Json summary_of(const ingest::BackupReport& report,
                              const std::string& series, double seconds,
                              const repo::Timestamp& now);

void print_summary(const ingest::BackupReport& report,
                   const std::string& series, double seconds, Output& output);

// How the command ends: ok or partial. Throws ingest::ProducerFailed, which
// says why, when nothing was saved.
[[nodiscard]] ExitCode exit_code_of(const ingest::BackupReport& report);

}  // namespace cairn::cli
