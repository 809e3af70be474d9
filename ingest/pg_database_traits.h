// What a database is besides what is in it: its encoding and order, to whom it
// belongs, who may connect, its settings. pg_dump leaves all of that to who
// makes the database, so it is asked for beside the dump, and given to the
// database that the dump is restored into.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_questions.h"

namespace cairn::ingest {

// What a database is called while a dump is loaded into it: this and 16
// hexadecimal digits.
inline constexpr std::string_view kPgUnfinishedName = "cairn_restore_";
[[nodiscard]] bool is_pg_unfinished_name(std::string_view name);

// ALTER DATABASE ... SET, or ALTER ROLE ... IN DATABASE ... SET. The value may
// be a secret.
struct PgSetting {
  std::string role;  // empty: everybody
  std::string name;
  std::string value;

  bool operator==(const PgSetting&) const = default;
};

struct PgGrant {
  std::string role;       // empty: everybody
  std::string privilege;  // CONNECT, CREATE or TEMPORARY
  bool with_grant_option = false;

  bool operator==(const PgGrant&) const = default;
};

struct PgExtension {
  std::string name;
  std::string version;

  bool operator==(const PgExtension&) const = default;
};

struct PgDatabaseTraits {
  std::string owner;
  std::string encoding;        // "UTF8"
  std::string collate;         // "de_DE.utf8"
  std::string character_type;  // LC_CTYPE
  std::string provider;        // of the locale: "c", "i", "b"
  std::string locale;          // of a provider other than c; else empty
  std::string rules;           // ICU_RULES; else empty
  std::int64_t connection_limit = -1;
  std::string comment;
  std::vector<PgSetting> settings;
  std::optional<std::vector<PgGrant>> grants;  // nothing: those of the server
  std::vector<PgExtension> extensions;         // plpgsql too

  bool operator==(const PgDatabaseTraits&) const = default;
};

// Of the database that the questions go to. Throws as ask() does.
[[nodiscard]] PgDatabaseTraits ask_database_traits(const PgQuestions& questions,
                                                   int server_major,
                                                   const std::stop_token& stop);

// CREATE DATABASE, for a server of that version; without traits, one like the
// server's own. `owner`: nothing is whoever runs it.
[[nodiscard]] std::string create_database(
    std::string_view name, const std::optional<PgDatabaseTraits>& traits,
    const std::optional<std::string>& owner, int server_major);

// What is still to be done to it once it is filled, each statement or pair of
// statements with what it is, in words that hold no secret.
struct PgFinish {
  std::string what;  // "setting search_path"
  std::string script;
};
[[nodiscard]] std::vector<PgFinish> finish_database(
    std::string_view name, const PgDatabaseTraits& traits);

}  // namespace cairn::ingest
