#include "cli/pg_tables_document.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/json.h"

namespace cairn::cli {
namespace {

Json json_of(const ingest::PgDatabaseTraits& traits) {
  Json json = Json::object();
  json.set_bytes("owner", traits.owner)
      .set("encoding", traits.encoding)
      .set("collate", traits.collate)
      .set("character_type", traits.character_type)
      .set("locale_provider", traits.provider)
      .set("locale", traits.locale)
      .set_bytes("rules", traits.rules)
      .set("connection_limit", traits.connection_limit)
      .set_bytes("comment", traits.comment);
  Json settings = Json::array();
  for (const auto& setting : traits.settings) {
    Json one = Json::object();
    one.set_bytes("role", setting.role)
        .set_bytes("name", setting.name)
        .set_bytes("value", setting.value);
    settings.add(std::move(one));
  }
  json.set("settings", std::move(settings));
  if (traits.grants) {
    Json grants = Json::array();
    for (const auto& grant : *traits.grants) {
      Json one = Json::object();
      one.set_bytes("role", grant.role)
          .set("privilege", grant.privilege)
          .set("with_grant_option", grant.with_grant_option);
      grants.add(std::move(one));
    }
    json.set("grants", std::move(grants));
  } else {
    json.set("grants", nullptr);
  }
  Json extensions = Json::array();
  for (const auto& extension : traits.extensions) {
    Json one = Json::object();
    one.set_bytes("name", extension.name).set("version", extension.version);
    extensions.add(std::move(one));
  }
  return std::move(json.set("extensions", std::move(extensions)));
}

Json json_of_tables(const ingest::PgDatabaseDump& dump) {
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
  return list;
}

// What a document says, each of the kind that it should be of: what is missing
// or is something else throws Unlike.
class Reader {
 public:
  struct Unlike {};

  explicit Reader(const nlohmann::json& value) : value_(value) {
    if (!value.is_object()) throw Unlike();
  }

  [[nodiscard]] bool has(const char* key) const {
    const auto found = value_.find(key);
    return found != value_.end() && !found->is_null();
  }
  // Whether the text is not whole here, because it is no UTF-8.
  [[nodiscard]] bool is_inexact(const std::string& key) const {
    return value_.contains(key + "_b64");
  }
  [[nodiscard]] std::string text(const char* key) const {
    const auto& found = at(key);
    if (!found.is_string() || is_inexact(key)) throw Unlike();
    return found.get<std::string>();
  }
  [[nodiscard]] std::uint64_t count(const char* key) const {
    const auto& found = at(key);
    if (!found.is_number_unsigned()) throw Unlike();
    return found.get<std::uint64_t>();
  }
  [[nodiscard]] std::int64_t number(const char* key) const {
    const auto& found = at(key);
    if (!found.is_number_integer()) throw Unlike();
    return found.get<std::int64_t>();
  }
  [[nodiscard]] bool flag(const char* key) const {
    const auto& found = at(key);
    if (!found.is_boolean()) throw Unlike();
    return found.get<bool>();
  }
  [[nodiscard]] Reader object(const char* key) const { return Reader(at(key)); }
  [[nodiscard]] std::vector<Reader> list(const char* key) const {
    const auto& found = at(key);
    if (!found.is_array()) throw Unlike();
    std::vector<Reader> elements(found.begin(), found.end());
    return elements;
  }

 private:
  [[nodiscard]] const nlohmann::json& at(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) throw Unlike();
    return *found;
  }

  const nlohmann::json& value_;
};

// Nothing when any of it is not whole: half of who may connect is worse than
// what the server does by itself.
std::optional<ingest::PgDatabaseTraits> traits_in(const Reader& json) try {
  ingest::PgDatabaseTraits traits{
      .owner = json.text("owner"),
      .encoding = json.text("encoding"),
      .collate = json.text("collate"),
      .character_type = json.text("character_type"),
      .provider = json.text("locale_provider"),
      .locale = json.text("locale"),
      .rules = json.text("rules"),
      .connection_limit = json.number("connection_limit"),
      .comment = json.text("comment"),
      .settings = {},
      .grants = {},
      .extensions = {}};
  for (const auto& one : json.list("settings")) {
    traits.settings.push_back(
        {one.text("role"), one.text("name"), one.text("value")});
  }
  if (json.has("grants")) {
    traits.grants.emplace();
    for (const auto& one : json.list("grants")) {
      traits.grants->push_back({one.text("role"), one.text("privilege"),
                                one.flag("with_grant_option")});
    }
  }
  for (const auto& one : json.list("extensions")) {
    traits.extensions.push_back({one.text("name"), one.text("version")});
  }
  return traits;
} catch (const Reader::Unlike&) {
  return std::nullopt;
}

PgTablesDocument document_in(const Reader& json) {
  if (json.text("type") != "pg_tables") throw Reader::Unlike();
  PgTablesDocument document{.server_version = json.text("server_version"),
                            .pg_dump_version = json.text("pg_dump_version"),
                            .tables_with_data = json.count("tables_with_data"),
                            .tables = {},
                            .traits = {}};
  for (const auto& one : json.list("tables")) {
    if (one.is_inexact("schema") || one.is_inexact("table")) continue;
    ingest::PgTableBefore table{.schema = one.text("schema"),
                                .name = one.text("table"),
                                .rows = {},
                                .table_bytes = {}};
    if (one.has("rows")) table.rows = one.count("rows");
    if (one.has("table_bytes")) table.table_bytes = one.count("table_bytes");
    document.tables.push_back(std::move(table));
  }
  if (json.has("traits")) document.traits = traits_in(json.object("traits"));
  return document;
}

}  // namespace

std::string pg_tables_document(const ingest::PgDatabaseDump& dump,
                               const ingest::PgDump& all) {
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
      .set("tables", json_of_tables(dump));
  if (dump.traits) json.set("traits", json_of(*dump.traits));
  return json.text() + "\n";
}

std::optional<PgTablesDocument> read_pg_tables_document(std::string_view text) {
  const auto value = nlohmann::json::parse(text, nullptr,
                                           /*allow_exceptions=*/false);
  try {
    return document_in(Reader(value));
  } catch (const Reader::Unlike&) {
    return std::nullopt;
  }
}

}  // namespace cairn::cli
