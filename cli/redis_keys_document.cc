#include "cli/redis_keys_document.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "cli/json.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kType = "redis_keys";

Json json_of(std::uint64_t number, const ingest::RdbDatabase& database) {
  Json types = Json::object();
  for (std::size_t i = 0; i < ingest::kRdbKinds; ++i) {
    if (database.kinds.at(i) == 0) continue;
    types.set(ingest::name_of(static_cast<ingest::RdbKind>(i)),
              database.kinds.at(i));
  }
  Json json = Json::object();
  json.set("database", number)
      .set("keys", database.keys)
      .set("expiring", database.expiring)
      .set("types", std::move(types));
  return json;
}

std::string field_or_empty(const ingest::RdbContent& content,
                           const std::string& name) {
  const auto found = content.fields.find(name);
  return found == content.fields.end() ? "" : found->second;
}

std::string version_of(const ingest::RdbContent& content) {
  const std::string valkey = field_or_empty(content, "valkey-ver");
  return valkey.empty() ? field_or_empty(content, "redis-ver") : valkey;
}

// As the server's configuration calls them; only those that are known.
Json json_of(const ingest::KnownRedisNames& names) {
  Json json = Json::object();
  if (names.dump) json.set("dbfilename", *names.dump);
  if (names.aof_folder) json.set("appenddirname", *names.aof_folder);
  if (names.aof_prefix) json.set("appendfilename", *names.aof_prefix);
  return json;
}

// Documents of before do not tell.
ingest::KnownRedisNames names_in(const nlohmann::json& document) {
  const auto settings = document.find("settings");
  if (settings == document.end()) return {};
  const auto name = [&](const char* key) -> std::optional<std::string> {
    const auto found = settings->find(key);
    if (found == settings->end() || !found->is_string()) return std::nullopt;
    return ingest::checked_redis_name(found->get<std::string>());
  };
  return {.dump = name("dbfilename"),
          .aof_folder = name("appenddirname"),
          .aof_prefix = name("appendfilename")};
}

// Throws nlohmann's exceptions for what is unlike it.
RedisKeysDocument document_in(const nlohmann::json& json) {
  RedisKeysDocument document{
      .server_version = json.at("server_version").get<std::string>(),
      .is_walked = json.at("not_walked").is_null(),
      .databases = {},
      .names = names_in(json)};
  for (const auto& one : json.at("databases")) {
    document.databases[one.at("database").get<std::uint64_t>()] = {
        one.at("keys").get<std::uint64_t>(),
        one.at("expiring").get<std::uint64_t>()};
  }
  return document;
}

}  // namespace

std::string redis_keys_document(const std::string& source,
                                const ingest::RedisDump& dump,
                                const ingest::KnownRedisNames& names) {
  const auto& content = dump.content();
  Json databases = Json::array();
  for (const auto& [number, database] : content.databases) {
    databases.add(json_of(number, database));
  }
  Json fields = Json::object();
  for (const auto& [name, text] : content.fields) fields.set(name, text);
  Json modules = Json::array();
  for (const auto& name : content.modules) modules.add(name);
  const auto sum = content.sum();
  Json json = Json::object();
  json.set("type", kType)
      .set("v", 1)
      .set_bytes("source", source)
      .set("began", *dump.began())
      .set("ended", *dump.ended())
      .set("server_version", version_of(content))
      .set("format", content.magic)
      .set("bytes", content.bytes)
      .set("has_checksum", content.has_checksum);
  content.not_walked ? json.set("not_walked", *content.not_walked)
                     : json.set("not_walked", nullptr);
  json.set("keys", sum.keys)
      .set("expiring", sum.expiring)
      .set("databases", std::move(databases))
      .set("functions", content.functions)
      .set("modules", std::move(modules))
      .set("fields", std::move(fields))
      .set("settings", json_of(names));
  return json.text() + "\n";
}

std::optional<RedisKeysDocument> read_redis_keys_document(
    std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr,
                                          /*allow_exceptions=*/false);
  try {
    if (json.at("type") != kType) return std::nullopt;
    return document_in(json);
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace cairn::cli
