// A database, or some of its tables, out of a server that is ours alone, such
// as one that was recovered for that: it may be changed on the way.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_dump.h"
#include "ingest/pg_dump_stream.h"
#include "ingest/pg_questions.h"

namespace cairn::ingest {

struct PgTableName {
  std::string schema;
  std::string name;

  bool operator==(const PgTableName&) const = default;
};

// As SQL spells it: orders, stock.orders, "Odd name"."t". Of no schema: of
// public. Throws std::invalid_argument for what is no name.
[[nodiscard]] PgTableName parse_table_name(std::string_view text);

// Those tables, and the partitions that they consist of. Throws repo::NotFound
// for those that the database has not, ProducerFailed.
[[nodiscard]] std::vector<PgTableName> find_tables(
    const PgQuestions& questions, const std::vector<PgTableName>& tables,
    const std::stop_token& stop);

// Moves tables into a schema that is made for them, with their indexes and
// sequences. What would tie them to tables that stay is dropped: foreign keys
// and triggers. What else they use, types and functions, they use where it is.
void move_tables(const PgQuestions& questions,
                 const std::vector<PgTableName>& tables,
                 const std::string& schema, const std::stop_token& stop);

// What is dumped: all of the database, some tables, or one schema.
struct PgExtract {
  std::vector<PgTableName> tables;  // as find_tables() answered
  std::string schema;               // empty: any
};

enum class PgDumpPacking {
  compressed,  // to be kept as it is
  plain,       // to go on into a server
};

[[nodiscard]] PgDumpCommand extract_command(const PgQuestions& questions,
                                            const PgExtract& extract,
                                            PgDumpFormat format,
                                            PgDumpPacking packing);

}  // namespace cairn::ingest
