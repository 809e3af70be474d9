// What `pg dump` and runs of a job do alike with dumps of PostgreSQL.
#pragma once

#include <optional>
#include <string>

#include "ingest/pg_dump.h"

namespace cairn::cli {

// Where the programs are that dump: of a container, if one is named, with the
// PG* variables of ours that mean the same in there.
[[nodiscard]] ingest::PgProgramPlaces program_places(
    const std::optional<std::string>& bin_dir,
    const std::optional<std::string>& container_name,
    const std::string& container_program);

// NAME.tables.json: what the dump holds of each table, and, of tables and
// materialised views, what they took on the server.
[[nodiscard]] std::string tables_document(const ingest::PgDatabaseDump& dump,
                                          const ingest::PgDump& all);

}  // namespace cairn::cli
