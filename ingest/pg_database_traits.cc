#include "ingest/pg_database_traits.h"

#include <algorithm>
#include <array>

#include "ingest/byte_stream.h"

namespace cairn::ingest {
namespace {

constexpr int kFirstWithProviders = 15;
constexpr int kFirstWithRules = 16;
constexpr int kFirstWithOneLocale = 17;

// Lists of names, which a text of quotes around all of them would make one.
bool is_list(std::string_view setting) {
  constexpr std::array<std::string_view, 6> kLists = {
      "local_preload_libraries",   "search_path",
      "session_preload_libraries", "shared_preload_libraries",
      "temp_tablespaces",          "unix_socket_directories"};
  return std::ranges::find(kLists, setting) != kLists.end();
}

std::string columns_of_locale(int major) {
  if (major < kFirstWithProviders) return "'c', '', ''";
  return "datlocprovider, coalesce(" +
         std::string(major < kFirstWithOneLocale ? "daticulocale"
                                                 : "datlocale") +
         ", ''), " +
         (major < kFirstWithRules ? "''" : "coalesce(daticurules, '')");
}

std::string role_or_everybody(const std::string& role) {
  return role.empty() ? "PUBLIC" : pg_identifier(role);
}

}  // namespace

bool is_pg_unfinished_name(std::string_view name) {
  constexpr std::size_t kDigits = 16;
  if (!name.starts_with(kPgUnfinishedName)) return false;
  name.remove_prefix(kPgUnfinishedName.size());
  return name.size() == kDigits &&
         name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

PgDatabaseTraits ask_database_traits(const PgQuestions& questions,
                                     int server_major,
                                     const std::stop_token& stop) {
  const auto rows =
      ask(questions, 10,
          "SELECT pg_catalog.pg_get_userbyid(datdba),"
          " pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, " +
              columns_of_locale(server_major) +
              ", datconnlimit,"
              " coalesce(pg_catalog.shobj_description(oid, 'pg_database'), ''),"
              " CASE WHEN datacl IS NULL THEN 'no' ELSE 'yes' END"
              " FROM pg_catalog.pg_database"
              " WHERE datname = pg_catalog.current_database()",
          stop);
  if (rows.size() != 1) throw ProducerFailed("psql: no answer from the server");
  const PgRow& row = rows.front();
  PgDatabaseTraits traits{.owner = row[0],
                          .encoding = row[1],
                          .collate = row[2],
                          .character_type = row[3],
                          .provider = row[4],
                          .locale = row[5],
                          .rules = row[6],
                          .connection_limit = number_in<std::int64_t>(row[7]),
                          .comment = row[8],
                          .settings = {},
                          .grants = {},
                          .extensions = {}};
  for (const auto& setting :
       ask(questions, 3,
           "SELECT coalesce(r.rolname, ''),"
           " pg_catalog.split_part(c, '=', 1),"
           " pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)"
           " FROM pg_catalog.pg_db_role_setting s"
           " LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole"
           " CROSS JOIN pg_catalog.unnest(s.setconfig) c"
           " WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database"
           " WHERE datname = pg_catalog.current_database())"
           " AND (s.setrole = 0 OR r.rolname IS NOT NULL) ORDER BY 1, 2",
           stop)) {
    traits.settings.push_back({setting[0], setting[1], setting[2]});
  }
  if (row[9] == "yes") {
    traits.grants.emplace();
    for (const auto& grant :
         ask(questions, 3,
             "SELECT coalesce(r.rolname, ''), a.privilege_type,"
             " CASE WHEN a.is_grantable THEN 'yes' ELSE 'no' END"
             " FROM pg_catalog.pg_database d"
             " CROSS JOIN pg_catalog.aclexplode(d.datacl) a"
             " LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee"
             " WHERE d.datname = pg_catalog.current_database()"
             " AND (a.grantee = 0 OR r.rolname IS NOT NULL) ORDER BY 1, 2",
             stop)) {
      traits.grants->push_back({grant[0], grant[1], grant[2] == "yes"});
    }
  }
  for (const auto& extension :
       ask(questions, 2,
           "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1",
           stop)) {
    traits.extensions.push_back({extension[0], extension[1]});
  }
  return traits;
}

std::string create_database(std::string_view name,
                            const std::optional<PgDatabaseTraits>& traits,
                            const std::optional<std::string>& owner,
                            int server_major) {
  std::string text =
      "CREATE DATABASE " + pg_identifier(name) + " TEMPLATE template0";
  if (owner) text += " OWNER " + pg_identifier(*owner);
  if (!traits) return text;
  text += " ENCODING " + pg_literal(traits->encoding) + " LC_COLLATE " +
          pg_literal(traits->collate) + " LC_CTYPE " +
          pg_literal(traits->character_type);
  if (server_major < kFirstWithProviders) return text;
  if (traits->provider == "i") {
    text += " LOCALE_PROVIDER icu ICU_LOCALE " + pg_literal(traits->locale);
    if (!traits->rules.empty() && server_major >= kFirstWithRules) {
      text += " ICU_RULES " + pg_literal(traits->rules);
    }
  } else if (traits->provider == "b" && server_major >= kFirstWithOneLocale) {
    text +=
        " LOCALE_PROVIDER builtin BUILTIN_LOCALE " + pg_literal(traits->locale);
  } else {
    // Else it would be that of the template, which may be another.
    text += " LOCALE_PROVIDER libc";
  }
  return text;
}

std::vector<PgFinish> finish_database(std::string_view name,
                                      const PgDatabaseTraits& traits) {
  const std::string database = pg_identifier(name);
  std::vector<PgFinish> steps;
  if (!traits.comment.empty()) {
    steps.push_back({"its comment", "COMMENT ON DATABASE " + database + " IS " +
                                        pg_literal(traits.comment) + ";\n"});
  }
  if (traits.connection_limit >= 0) {
    steps.push_back({"its limit of connections",
                     "ALTER DATABASE " + database + " CONNECTION LIMIT " +
                         std::to_string(traits.connection_limit) + ";\n"});
  }
  if (traits.grants) {
    steps.push_back({"that not everybody may use it",
                     "REVOKE ALL ON DATABASE " + database + " FROM PUBLIC;\n"});
    for (const auto& grant : *traits.grants) {
      // Words of the language, which no quotes make harmless.
      if (grant.privilege != "CONNECT" && grant.privilege != "CREATE" &&
          grant.privilege != "TEMPORARY") {
        continue;
      }
      steps.push_back(
          {grant.privilege + " for " +
               (grant.role.empty() ? "everybody" : "role " + grant.role),
           "GRANT " + grant.privilege + " ON DATABASE " + database + " TO " +
               role_or_everybody(grant.role) +
               (grant.with_grant_option && !grant.role.empty()
                    ? " WITH GRANT OPTION"
                    : "") +
               ";\n"});
    }
  }
  for (const auto& setting : traits.settings) {
    const std::string whose =
        setting.role.empty() ? "ALTER DATABASE " + database
                             : "ALTER ROLE " + pg_identifier(setting.role) +
                                   " IN DATABASE " + database;
    const std::string set = whose + " SET " + pg_identifier(setting.name);
    steps.push_back(
        {"setting " + setting.name +
             (setting.role.empty() ? "" : " of role " + setting.role),
         is_list(setting.name)
             ? "BEGIN; SELECT "
               "pg_catalog.set_config(" +
                   pg_literal(setting.name) + ", " + pg_literal(setting.value) +
                   ", true); " + set + " FROM CURRENT; COMMIT;\n"
             : set + " TO " + pg_literal(setting.value) + ";\n"});
  }
  return steps;
}

}  // namespace cairn::ingest
