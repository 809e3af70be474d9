// What became of a dump that was to be loaded into a server, in words and for
// programs.
#pragma once

#include <optional>
#include <string>

#include "cli/dump_plan.h"
#include "cli/json.h"
#include "cli/output.h"
#include "ingest/pg_restore.h"

namespace cairn::cli {

// Borrows the dump.
struct DumpOutcome {
  const PlannedDump* dump = nullptr;
  std::optional<ingest::PgLoaded> loaded;  // nothing: it failed
  std::string failure;
};

// Whether all that was looked at is as it was dumped.
[[nodiscard]] bool is_alike(const DumpOutcome& outcome);

void print_outcome(const DumpOutcome& outcome, Output& output);
[[nodiscard]] Json json_of(const DumpOutcome& outcome);

}  // namespace cairn::cli
