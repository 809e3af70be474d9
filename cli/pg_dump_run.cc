#include "cli/pg_dump_run.h"

#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>

#include "cli/json.h"

namespace cairn::cli {
namespace {

// Empty is none, as for libpq.
const char* variable(const char* name) {
  const char* const value = std::getenv(name);
  return value && *value != '\0' ? value : nullptr;
}

}  // namespace

ingest::PgProgramPlaces program_places(
    const std::optional<std::string>& bin_dir,
    const std::optional<std::string>& container_name,
    const std::string& container_program) {
  ingest::PgProgramPlaces places;
  places.bin_dir = bin_dir;
  if (const char* const path = variable("PATH")) places.path = path;
  if (container_name) {
    ingest::PgContainer container{
        .program = container_program, .name = *container_name, .variables = {}};
    // Those that mean the same in there.
    for (const char* const name : {"PGUSER", "PGPASSWORD", "PGDATABASE"}) {
      if (variable(name)) container.variables.emplace_back(name);
    }
    places.container = std::move(container);
  }
  return places;
}

std::string tables_document(const ingest::PgDatabaseDump& dump,
                            const ingest::PgDump& all) {
  using Name = std::pair<std::string_view, std::string_view>;
  struct Table {
    const ingest::TableInDump* in_dump = nullptr;
    const ingest::PgTableSize* size = nullptr;
  };
  std::map<Name, Table> tables;
  for (const auto& table : dump.stream->tables()) {
    tables[{table.schema, table.name}].in_dump = &table;
  }
  if (dump.sizes) {
    for (const auto& size : *dump.sizes) {
      tables[{size.schema, size.name}].size = &size;
    }
  }
  Json list = Json::array();
  for (const auto& [name, table] : tables) {
    Json json = Json::object();
    json.set_bytes("schema", name.first).set_bytes("table", name.second);
    if (table.in_dump != nullptr) {
      json.set("rows", table.in_dump->rows)
          .set("dump_bytes", table.in_dump->bytes);
    }
    if (table.size != nullptr) {
      json.set("table_bytes", table.size->table_bytes)
          .set("total_bytes", table.size->total_bytes);
    }
    list.add(std::move(json));
  }
  Json json = Json::object();
  json.set("type", "pg_tables")
      .set("v", 1)
      .set_bytes("database", dump.database);
  json.set_bytes("source", dump.source)
      .set("began", *dump.stream->began())
      .set("ended", *dump.stream->ended())
      .set("server_version", all.server().version)
      .set("pg_dump_version", all.programs().version.text)
      .set("tables_with_data", dump.stream->table_count())
      .set("rows", dump.stream->row_count())
      .set("tables", std::move(list));
  return json.text() + "\n";
}

}  // namespace cairn::cli
