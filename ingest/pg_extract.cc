#include "ingest/pg_extract.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "ingest/pg_dump_text.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

std::string identifier(const PgTableName& table) {
  return pg_identifier(table.schema) + "." + pg_identifier(table.name);
}

// 'a', 'b', each as a regclass of what is there.
std::string list_of(const std::vector<PgTableName>& tables) {
  std::string list;
  for (const auto& table : tables) {
    list += (list.empty() ? "" : ", ") + pg_literal(identifier(table)) +
            "::pg_catalog.regclass";
  }
  return list;
}

}  // namespace

PgTableName parse_table_name(std::string_view text) {
  const auto refuse = [&] {
    throw std::invalid_argument("'" + std::string(text) +
                                "' is no name of a table, as SQL spells it: "
                                "orders, stock.orders, \"Odd name\".orders");
  };
  std::string_view rest = text;
  PgTableName table{.schema = "public", .name = take_sql_name(rest)};
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    table.schema = std::exchange(table.name, take_sql_name(rest));
  }
  if (table.schema.empty() || table.name.empty() || !rest.empty()) refuse();
  return table;
}

std::vector<PgTableName> find_tables(const PgQuestions& questions,
                                     const std::vector<PgTableName>& tables,
                                     const std::stop_token& stop) {
  std::vector<PgTableName> found;
  std::string lacking;
  for (const auto& table : tables) {
    const auto rows = ask(
        questions, 2,
        "WITH asked AS (SELECT c.oid FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND n.nspname = " +
            pg_literal(table.schema) +
            " AND c.relname = " + pg_literal(table.name) +
            "), parts AS (SELECT oid FROM asked UNION"
            " SELECT t.relid FROM asked, pg_catalog.pg_partition_tree(oid) t)"
            " SELECT n.nspname, c.relname FROM parts"
            " JOIN pg_catalog.pg_class c USING (oid)"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        stop);
    if (rows.empty()) {
      lacking +=
          (lacking.empty() ? "" : ", ") + table.schema + "." + table.name;
    }
    for (const auto& row : rows) {
      const PgTableName one{row[0], row[1]};
      if (std::ranges::find(found, one) == found.end()) found.push_back(one);
    }
  }
  if (!lacking.empty()) {
    throw repo::NotFound("the database had no table " + lacking +
                         " at that moment");
  }
  return found;
}

void move_tables(const PgQuestions& questions,
                 const std::vector<PgTableName>& tables,
                 const std::string& schema, const std::stop_token& stop) {
  const std::string all = list_of(tables);
  std::string script = "BEGIN;\n";
  // Those of partitions go with those of the table that they are of.
  for (const auto& row :
       ask(questions, 2,
           "SELECT conrelid::pg_catalog.regclass, conname"
           " FROM pg_catalog.pg_constraint WHERE contype = 'f'"
           " AND conparentid = 0 AND (conrelid IN (" +
               all + ") OR confrelid IN (" + all + "))",
           stop)) {
    script += "ALTER TABLE " + row[0] + " DROP CONSTRAINT " +
              pg_identifier(row[1]) + ";\n";
  }
  for (const auto& row :
       ask(questions, 2,
           "SELECT tgrelid::pg_catalog.regclass, tgname"
           " FROM pg_catalog.pg_trigger WHERE NOT tgisinternal"
           " AND tgparentid = 0 AND tgrelid IN (" +
               all + ")",
           stop)) {
    script += "DROP TRIGGER " + pg_identifier(row[1]) + " ON " + row[0] + ";\n";
  }
  script += "CREATE SCHEMA " + pg_identifier(schema) + ";\n";
  for (const auto& table : tables) {
    script += "ALTER TABLE " + identifier(table) + " SET SCHEMA " +
              pg_identifier(schema) + ";\n";
  }
  run_script(questions, script + "COMMIT;\n", stop);
}

PgDumpCommand extract_command(const PgQuestions& questions,
                              const PgExtract& extract, PgDumpFormat format,
                              PgDumpPacking packing) {
  PgDumpCommand command;
  std::vector<std::string> words = {"--no-password", "--strict-names"};
  if (format == PgDumpFormat::plain) {
    words.emplace_back("--format=plain");
  } else {
    words.emplace_back("--format=custom");
    if (packing == PgDumpPacking::plain) words.emplace_back("--compress=0");
    command.to_sql = questions.programs.call("pg_restore", {"--file=-"});
  }
  // In quotes nothing in a pattern has a meaning of its own.
  for (const auto& table : extract.tables) {
    words.push_back("--table=" + identifier(table));
  }
  if (!extract.schema.empty()) {
    words.push_back("--schema=" + pg_identifier(extract.schema));
  }
  words.push_back("--dbname=" + questions.dsn);
  command.dump = questions.programs.call("pg_dump", std::move(words));
  return command;
}

}  // namespace cairn::ingest
