#include "ingest/pg_dump_server.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/program_output.h"

namespace cairn::ingest {
namespace {

// A hundred thousand tables with long names.
constexpr std::size_t kMaxAnswer = std::size_t{32} << 20;

using Row = std::vector<std::string>;

// Fields and rows end with a NUL, which no text of PostgreSQL has in it.
std::vector<Row> ask(const PgQuestions& questions, std::size_t columns,
                     const std::string& statement, std::stop_token stop) {
  const std::string answer = output_of(
      questions.programs.call(
          "psql",
          {"--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
           "--no-password", "--field-separator-zero", "--record-separator-zero",
           "--set=ON_ERROR_STOP=1", "--dbname=" + questions.dsn,
           "--command=SET statement_timeout = 0",
           "--command=SET lock_timeout = '10s'", "--command=" + statement}),
      kMaxAnswer, std::move(stop));
  std::vector<Row> rows;
  std::string_view rest = answer;
  for (std::size_t field = 0; !rest.empty(); ++field) {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) break;
    if (field % columns == 0) rows.emplace_back();
    rows.back().emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  if (!rest.empty() || (!rows.empty() && rows.back().size() != columns)) {
    throw ProducerFailed("psql: its answer is cut off");
  }
  return rows;
}

template <typename Number>
Number number_of(const std::string& text) {
  Number number{};
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw ProducerFailed("psql: its answer has no number where one should be");
  }
  return number;
}

}  // namespace

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
  const Row& row = rows.front();
  return {.major = number_of<int>(row[0]) / kPerMajor,
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
    databases.push_back({row[0], number_of<std::uint64_t>(row[1])});
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
                     .table_bytes = number_of<std::uint64_t>(row[2]),
                     .total_bytes = number_of<std::uint64_t>(row[3])});
  }
  return sizes;
}

}  // namespace cairn::ingest
