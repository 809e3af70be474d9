// The flags that say where the client programs of PostgreSQL are, alike in
// every command that runs some.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/command_line.h"
#include "ingest/pg_dump_programs.h"

namespace cairn::cli {

struct PgPlaces {
  std::optional<std::string> bin_dir;
  std::optional<std::string> container;
  std::optional<std::string> container_program;
};

void declare_pg_places(Flags& flags, PgPlaces& places);

// Looks into the environment too. Throws UsageError, which begins with the name
// of the command, for what makes no sense.
[[nodiscard]] ingest::PgProgramPlaces program_places(const PgPlaces& places,
                                                     std::string_view command);

// The database that is asked first where a DSN names none. Empty: the one that
// PGDATABASE or PGSERVICE names, as far as they mean anything there.
[[nodiscard]] std::string usual_database(const PgPlaces& places);

}  // namespace cairn::cli
