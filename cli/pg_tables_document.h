// NAME.tables.json, which lies beside the dump of a database: how many rows the
// dump has of each table, what the tables took on the server, and what of the
// database is not in the dump, but was there (ingest/pg_database_traits.h).
// What is found there is compared with a restore, and given to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_database_traits.h"
#include "ingest/pg_dump.h"
#include "ingest/pg_restore_checks.h"

namespace cairn::cli {

// Requires: dump.stream->ended().
[[nodiscard]] std::string pg_tables_document(const ingest::PgDatabaseDump& dump,
                                             const ingest::PgDump& all);

struct PgTablesDocument {
  std::string server_version;   // "15.18"
  std::string pg_dump_version;  // likewise
  std::uint64_t tables_with_data = 0;
  std::vector<ingest::PgTableBefore> tables;
  std::optional<ingest::PgDatabaseTraits> traits;
};

// A document that is longer is not read.
inline constexpr std::size_t kMaxTablesDocument = std::size_t{128} << 20;

// Nothing: it is no such document. What is no UTF-8 in it is passed over.
[[nodiscard]] std::optional<PgTablesDocument> read_pg_tables_document(
    std::string_view text);

}  // namespace cairn::cli
