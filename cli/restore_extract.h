// 'cairn restore --at ... --database D': one database, or some of its tables,
// as they were at a moment. The cluster is recovered in a temporary folder, by
// a server of its own, which is dumped; neither outlives the command.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/pg_places.h"
#include "cli/recovery_request.h"

namespace cairn::cli {

struct ExtractRequest {
  RecoveryRequest recovery;  // with a target
  std::optional<std::string> series;
  std::string database;
  std::vector<std::string> tables;  // as SQL spells them; none: all of it

  // Where to, one of these two:
  std::optional<std::string> to_dump;  // a file
  std::optional<std::string> to_dsn;   // a server

  // In that server: a new database of that name, or else of the database's
  // own; or, with tables, a new schema of the database, which is there.
  std::optional<std::string> into;
  std::optional<std::string> schema;
  PgPlaces places;
};

// Throws UsageError; repo::RefusedForSafety when the file, database or schema
// is there already, before anything is done; and what recovering throws.
[[nodiscard]] ExitCode restore_extract(const ExtractRequest& request,
                                       Context& context);

}  // namespace cairn::cli
