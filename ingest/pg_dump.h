// Logical dumps of a PostgreSQL server's databases, as sources of one backup:
//
//   globals.sql       roles, memberships, tablespaces (pg_dumpall)
//   NAME.dump         each database, an archive for pg_restore; or
//   NAME.sql          the same as SQL for psql
//   NAME.tables.json  what the dump holds of each table, for comparisons, and
//                     what it leaves out of the database, for its restore
//
// The server is asked, and dumped, by its own client programs, which inherit
// our environment: a password comes from there or from a file, never from an
// argument.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/backup.h"
#include "ingest/pg_database_traits.h"
#include "ingest/pg_dump_dsn.h"
#include "ingest/pg_dump_programs.h"
#include "ingest/pg_dump_server.h"
#include "ingest/pg_dump_stream.h"
#include "repo/keyring.h"

namespace cairn::ingest {

enum class PgDumpFormat { custom, plain };

// Under which roles and tablespaces are found again.
inline constexpr std::string_view kPgGlobalsName = "globals.sql";

// The name under which a database is found again. What a name in a snapshot may
// not hold, and control characters, become %XX, so that no two databases have
// the same.
[[nodiscard]] std::string pg_dump_name(std::string_view database,
                                       PgDumpFormat format);
[[nodiscard]] std::string pg_tables_name(std::string_view database);

// The database that such a name is of. Nothing: it is the name of no dump of a
// database.
[[nodiscard]] std::optional<std::string> pg_database_of(std::string_view name);

// What pg_dump puts into SQL so that psql runs nothing in it that a hostile
// server smuggled in: the same each time, so that equal databases give equal
// dumps, and known to nobody who has not got the repository's keys.
[[nodiscard]] std::string pg_restrict_key(const repo::Keyring& keyring);

struct PgDumpOptions {
  PgDumpDsn dsn;
  PgProgramPlaces places;
  std::vector<std::string> databases;  // each once; empty: all there are
  PgDumpFormat format = PgDumpFormat::custom;
  std::string restrict_key;
  PgDumpStream::Clock now;
};

// One of the dumps, and what became of it.
struct PgDatabaseDump {
  std::string database;  // empty: what belongs to no database
  std::string source;    // "shop.dump"
  std::unique_ptr<PgDumpStream> stream;
  std::optional<std::vector<PgTableSize>> sizes;  // soon after it
  std::optional<PgDatabaseTraits> traits;         // likewise
  std::vector<std::string> notes;                 // why there are none
};

// Threads        one thread; while its sources are backed up, none but those
// that
//                read them.
class PgDump {
 public:
  // Gives the content of NAME.tables.json.
  using Describe = std::function<std::string(const PgDatabaseDump&)>;

  // Asks the server, and finds programs that can dump it. Throws ProducerFailed
  // when it does not answer or there are none, repo::Cancelled.
  PgDump(PgDumpOptions options, const std::stop_token& stop);

  // Borrows this object. They are in two lanes, so that two dumps run at a
  // time. Once.
  [[nodiscard]] std::vector<Source> sources(const Describe& describe);

  [[nodiscard]] const PgServer& server() const noexcept { return server_; }
  [[nodiscard]] const PgDumpPrograms& programs() const noexcept {
    return programs_;
  }
  [[nodiscard]] const std::vector<PgDatabase>& databases() const noexcept {
    return databases_;
  }

  // In the order of the sources, the cluster's globals first.
  [[nodiscard]] const std::vector<PgDatabaseDump>& dumps() const noexcept {
    return dumps_;
  }
  // What whoever restores should know, one line each. Complete once the sources
  // were backed up.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  void pass_over_unfinished();
  [[nodiscard]] PgDumpCommand command_for_globals() const;
  [[nodiscard]] PgDumpCommand command_for(const std::string& database) const;
  void add_dump(std::string database, std::string source,
                PgDumpCommand command);
  [[nodiscard]] std::string tables_of(PgDatabaseDump& dump,
                                      const Describe& describe,
                                      std::stop_token stop);

  PgDumpOptions options_;
  PgServer server_;
  std::vector<PgDatabase> databases_;
  PgDumpPrograms programs_;
  std::vector<PgDatabaseDump> dumps_;
  std::vector<std::string> notes_;
};

}  // namespace cairn::ingest
