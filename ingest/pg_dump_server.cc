#include "ingest/pg_dump_server.h"

#include <utility>

#include "ingest/byte_stream.h"

namespace cairn::ingest {

PgServer ask_server(const PgQuestions& questions, std::stop_token stop) {
  constexpr int kPerMajor = 10'000;
  const auto rows =
      ask(questions, 4,
          "SELECT pg_catalog.current_setting('server_version_num'),"
          " pg_catalog.current_setting('server_version'),"
          " pg_catalog.current_database(),"
          " CASE WHEN pg_catalog.has_table_privilege('pg_catalog.pg_authid',"
          " 'SELECT') THEN 'yes' ELSE 'no' END",
          std::move(stop));
  if (rows.size() != 1) {
    throw ProducerFailed("psql: no answer from the server");
  }
  const PgRow& row = rows.front();
  return {.major = number_in<int>(row[0]) / kPerMajor,
          .version = row[1].substr(0, row[1].find(' ')),
          .database = row[2],
          .may_read_passwords = row[3] == "yes"};
}

std::vector<PgDatabase> ask_databases(const PgQuestions& questions,
                                      std::stop_token stop) {
  const auto rows =
      ask(questions, 2,
          "SELECT datname, CASE"
          " WHEN pg_catalog.has_database_privilege(oid, 'CONNECT')"
          " THEN pg_catalog.pg_database_size(oid) ELSE 0 END"
          " FROM pg_catalog.pg_database"
          " WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2"
          " ORDER BY datname",
          std::move(stop));
  std::vector<PgDatabase> databases;
  for (const auto& row : rows) {
    databases.push_back({row[0], number_in<std::uint64_t>(row[1])});
  }
  return databases;
}

std::vector<PgTableSize> ask_table_sizes(const PgQuestions& questions,
                                         std::stop_token stop) {
  // A table that is dropped meanwhile has no size.
  const auto rows =
      ask(questions, 4,
          "SELECT n.nspname, c.relname,"
          " coalesce(pg_catalog.pg_table_size(c.oid), 0),"
          " coalesce(pg_catalog.pg_total_relation_size(c.oid), 0)"
          " FROM pg_catalog.pg_class c"
          " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
          " WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'"
          " AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
          " ORDER BY 1, 2",
          std::move(stop));
  std::vector<PgTableSize> sizes;
  for (const auto& row : rows) {
    sizes.push_back({.schema = row[0],
                     .name = row[1],
                     .table_bytes = number_in<std::uint64_t>(row[2]),
                     .total_bytes = number_in<std::uint64_t>(row[3])});
  }
  return sizes;
}

}  // namespace cairn::ingest
