// The part of `restore` that loads dumps into a PostgreSQL server.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/pg_places.h"
#include "ingest/pg_restore.h"

namespace cairn::cli {

enum class IntoExisting {
  refuse,
  clean,  // replace what the dump holds
};

struct DumpRestore {
  std::string snapshot;  // SNAP, or SNAP:PATH of one dump
  std::optional<std::string> series;
  std::string dsn;                     // of the server
  std::vector<std::string> databases;  // of the snapshot; none: all
  std::optional<std::string> into;     // another name for the one
  IntoExisting into_existing = IntoExisting::refuse;
  ingest::PgAmcheckWanted amcheck = ingest::PgAmcheckWanted::no;
  PgPlaces places;
};

// Throws UsageError, repo::NotFound, and repo::RefusedForSafety when one of the
// databases is there already, before anything is done.
[[nodiscard]] ExitCode restore_dumps(const DumpRestore& options,
                                     Context& context);

}  // namespace cairn::cli
