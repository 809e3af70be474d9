#include "ingest/pg_restore_checks.h"

#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/pg_dump_server.h"
#include "ingest/program_output.h"

namespace cairn::ingest {
namespace {

using Name = std::pair<std::string, std::string>;

// What one argument may hold is 128 KiB.
constexpr std::size_t kMaxStatement = std::size_t{64} << 10;

std::string text_of(const Name& name) { return name.first + "." + name.second; }

std::set<Name> ask_tables_of_extensions(const PgQuestions& questions,
                                        const std::stop_token& stop) {
  std::set<Name> names;
  for (auto& row : ask(questions, 2,
                       "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
                       " JOIN pg_catalog.pg_namespace n"
                       " ON n.oid = c.relnamespace"
                       " JOIN pg_catalog.pg_depend d ON d.objid = c.oid"
                       " AND d.classid = 'pg_catalog.pg_class'::regclass"
                       " AND d.deptype = 'e'",
                       stop)) {
    names.emplace(std::move(row[0]), std::move(row[1]));
  }
  return names;
}

// Answers the number of rows of each, in that order.
std::vector<std::uint64_t> count_rows(const PgQuestions& questions,
                                      std::span<const Name> tables,
                                      const std::stop_token& stop) {
  std::vector<std::uint64_t> counts;
  while (!tables.empty()) {
    std::string statement;
    std::size_t taken = 0;
    while (taken < tables.size() && statement.size() < kMaxStatement) {
      const auto& [schema, name] = tables[taken];
      statement += (taken == 0 ? "SELECT " : " UNION ALL SELECT ") +
                   std::to_string(taken) + ", count(*) FROM ONLY " +
                   pg_identifier(schema) + "." + pg_identifier(name);
      ++taken;
    }
    const auto rows = ask(questions, 2, statement + " ORDER BY 1", stop);
    if (rows.size() != taken) {
      throw ProducerFailed("psql: not an answer for each table");
    }
    for (const auto& row : rows) {
      counts.push_back(number_in<std::uint64_t>(row[1]));
    }
    tables = tables.subspan(taken);
  }
  return counts;
}

bool is_worth_telling(const PgTableGrowth& growth) {
  constexpr std::uint64_t kLittle = std::uint64_t{1} << 20;
  const auto [less, more] = std::minmax(growth.bytes_before, growth.bytes_now);
  if (more - less < kLittle) return false;
  return growth.bytes_now > growth.bytes_before
             ? growth.bytes_now - growth.bytes_before > growth.bytes_before / 4
             : growth.bytes_now < growth.bytes_before / 2;
}

void add_difference(PgComparison& comparison, std::string difference) {
  ++comparison.difference_count;
  if (comparison.differences.size() < PgComparison::kMaxDifferences) {
    comparison.differences.push_back(std::move(difference));
  }
}

// The extension amcheck in a schema of its own, as long as this lives, unless
// the database has it.
class Amcheck {
 public:
  Amcheck(const PgQuestions& questions, const std::stop_token& stop)
      : questions_(questions) {
    const auto rows =
        ask(questions, 1,
            "SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'amcheck'",
            stop);
    if (!rows.empty()) return;
    is_ours_ = true;
    run_script(questions,
               "BEGIN; CREATE SCHEMA cairn_amcheck; CREATE EXTENSION amcheck "
               "SCHEMA cairn_amcheck; COMMIT;\n",
               stop);
  }
  Amcheck(const Amcheck&) = delete;
  Amcheck& operator=(const Amcheck&) = delete;

  // The database may be one that lives, and an interruption is no reason to
  // leave it there.
  ~Amcheck() {
    try {
      remove();
    } catch (const std::exception&) {
      return;  // the outcome is decided
    }
  }

  void remove() {
    if (!std::exchange(is_ours_, false)) return;
    // Whatever came in between: it is no part of what was dumped.
    run_script(questions_,
               "DROP EXTENSION amcheck; DROP SCHEMA cairn_amcheck;\n",
               std::stop_token());
  }

 private:
  const PgQuestions& questions_;
  bool is_ours_ = false;
};

std::string findings_of(const PgQuestions& questions,
                        const std::stop_token& stop) {
  try {
    (void)output_of(
        questions.programs.call("pg_amcheck", {"--no-password", questions.dsn}),
        std::size_t{1} << 20, stop);
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return {};
}

}  // namespace

PgIndexes ask_indexes(const PgQuestions& questions, std::stop_token stop) {
  PgIndexes indexes;
  for (const auto& row :
       ask(questions, 4,
           "SELECT n.nspname, c.relname, a.amname,"
           " CASE WHEN i.indisvalid AND i.indisready THEN 'yes' ELSE 'no' END"
           " FROM pg_catalog.pg_index i"
           " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
           " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
           " JOIN pg_catalog.pg_am a ON a.oid = c.relam"
           " WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast') ORDER BY 1, 2",
           std::move(stop))) {
    ++indexes.count;
    if (row[2] == "hnsw" || row[2] == "ivfflat") ++indexes.vector_count;
    if (row[3] == "yes") continue;
    indexes.invalid.push_back(text_of({row[0], row[1]}) + " (" + row[2] + ")");
  }
  return indexes;
}

PgComparison compare_tables(const PgQuestions& questions,
                            const std::vector<PgTableBefore>& before,
                            const std::stop_token& stop) {
  std::map<Name, std::uint64_t> sizes;
  for (auto& size : ask_table_sizes(questions, stop)) {
    sizes[{std::move(size.schema), std::move(size.name)}] = size.table_bytes;
  }
  const auto of_extensions = ask_tables_of_extensions(questions, stop);

  PgComparison comparison;
  std::vector<Name> counted;
  std::vector<std::uint64_t> expected;
  for (const auto& table : before) {
    const Name name{table.schema, table.name};
    const auto size = sizes.find(name);
    if (size == sizes.end()) {
      add_difference(comparison, "table " + text_of(name) + " is not there");
      continue;
    }
    if (table.table_bytes) {
      comparison.bytes_before += *table.table_bytes;
      comparison.bytes_now += size->second;
      const PgTableGrowth growth{table.schema, table.name, *table.table_bytes,
                                 size->second};
      if (is_worth_telling(growth)) comparison.sizes.push_back(growth);
    }
    if (!table.rows || of_extensions.contains(name)) continue;
    counted.push_back(name);
    expected.push_back(*table.rows);
  }
  const auto counts = count_rows(questions, counted, stop);
  comparison.tables = counts.size();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    comparison.rows += counts[i];
    if (counts[i] == expected[i]) continue;
    add_difference(comparison, "table " + text_of(counted[i]) + " has " +
                                   std::to_string(counts[i]) +
                                   " rows, its dump " +
                                   std::to_string(expected[i]));
  }
  return comparison;
}

PgAmcheck run_pg_amcheck(const PgQuestions& questions, int server_major,
                         const std::stop_token& stop) {
  constexpr int kFirst = 14;
  if (server_major < kFirst) {
    return {.was_run = false, .said = "servers older than 14 have none"};
  }
  try {
    (void)output_of(questions.programs.call("pg_amcheck", {"--version"}),
                    std::size_t{1} << 20, stop);
    Amcheck amcheck(questions, stop);
    std::string said = findings_of(questions, stop);
    amcheck.remove();
    return {.was_run = true, .said = std::move(said)};
  } catch (const ProducerFailed& e) {
    return {.was_run = false, .said = e.what()};
  }
}

}  // namespace cairn::ingest
