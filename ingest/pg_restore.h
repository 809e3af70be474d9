// Loads dumps into a PostgreSQL server, by its own client programs:
//
//   globals.sql ---> psql              what the server has stays as it is
//   CREATE DATABASE cairn_restore_5f0c...   like the one that was dumped
//   the dump ------> pg_restore or psql, which end with the first error
//   indexes, numbers of rows
//   ALTER DATABASE cairn_restore_5f0c... RENAME TO shop
//
// So that nobody finds half a database under its name. What fails leaves none;
// what is killed leaves one whose name says what it is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_database_traits.h"
#include "ingest/pg_dump_dsn.h"
#include "ingest/pg_dump_kind.h"
#include "ingest/pg_dump_programs.h"
#include "ingest/pg_dump_server.h"
#include "ingest/pg_globals.h"
#include "ingest/pg_restore_checks.h"
#include "ingest/stream_output.h"

namespace cairn::ingest {

// A dump was not loaded; the message says why, and what became of the database.
struct PgRestoreFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Gives all of a dump to the sink, and throws what reading it may throw.
using PgDumpContent = std::function<StreamEnd(const ByteSink&)>;

struct PgDumpToLoad {
  std::string into;  // the database
  PgDumpKind kind = PgDumpKind::archive;
  PgDumpContent content;
  std::optional<PgDatabaseTraits> traits;  // of a database that is made for it
  // To compare with, asked once the dump was read. Null: not known.
  std::function<std::vector<PgTableBefore>()> tables;
};

enum class PgAmcheckWanted { no, yes };

struct PgLoaded {
  PgComparison comparison;
  PgIndexes indexes;
  std::optional<PgAmcheck> amcheck;  // as wanted
  // What the database lacks of what it was: an owner, a setting.
  std::vector<std::string> notes;
};

// A server to restore into.
//
// Threads        one thread, which must live until the end.
// Failure        every member throws repo::Cancelled when `stop` is requested.
class PgTarget {
 public:
  // Asks the server, and finds programs that fit it and a pg_dump of version
  // `dump_major` (0: not known). Throws ProducerFailed when it does not answer
  // or there are none.
  PgTarget(PgDumpDsn dsn, const PgProgramPlaces& places, int dump_major,
           const std::stop_token& stop);

  [[nodiscard]] const PgServer& server() const noexcept { return server_; }
  [[nodiscard]] const PgProgramVersion& programs_version() const noexcept {
    return programs_.version;
  }
  [[nodiscard]] bool has_database(const std::string& name) const {
    return databases_.contains(name);
  }
  // Databases of restores that were killed, or still run.
  [[nodiscard]] std::vector<std::string> unfinished() const;

  // Makes the roles and tablespaces that are in a globals.sql and not here.
  // Answers what there was to do. Throws PgRestoreFailed.
  PgGlobals load_globals(std::string_view text, const std::stop_token& stop);

  // Into a database that is made for it. Throws PgRestoreFailed, and what
  // reading the dump throws; either way there is no such database then, or it
  // is one of unfinished().
  //
  // Requires: !has_database(dump.into).
  PgLoaded load(const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                const std::stop_token& stop);

  // Into one that is there, in place of what the dump holds of it, in one
  // transaction: whatever throws leaves it as it was.
  //
  // Requires: `dump` is an archive, in tar or not, and the database is there.
  PgLoaded load_over(const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                     const std::stop_token& stop);

  // Into one that is there, where nothing of the dump is yet, in one
  // transaction.
  //
  // Requires: as above.
  PgLoaded load_beside(const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                       const std::stop_token& stop);

  // Requires: has_database(database).
  [[nodiscard]] bool has_schema(const std::string& database,
                                const std::string& schema,
                                const std::stop_token& stop) const;

 private:
  [[nodiscard]] PgQuestions questions(const std::string& database) const;
  PgLoaded load_into_existing(const PgDumpToLoad& dump,
                              std::vector<std::string> words,
                              PgAmcheckWanted amcheck,
                              const std::stop_token& stop);
  void require_extensions(const PgDumpToLoad& dump,
                          const std::stop_token& stop) const;
  [[nodiscard]] std::optional<std::string> owner_for(
      const PgDumpToLoad& dump, std::vector<std::string>& notes,
      const std::stop_token& stop) const;
  void pour(const PgDumpToLoad& dump, std::vector<std::string> words,
            const std::stop_token& stop) const;
  void fill(const PgDumpToLoad& dump, const std::string& database,
            const std::stop_token& stop) const;
  [[nodiscard]] PgLoaded look_at(const std::string& database,
                                 const PgDumpToLoad& dump,
                                 PgAmcheckWanted amcheck,
                                 const std::stop_token& stop) const;
  void finish(const std::string& database, const PgDumpToLoad& dump,
              PgLoaded& loaded, const std::stop_token& stop) const;
  class Unfinished;

  PgDumpDsn dsn_;
  PgServer server_;
  PgDumpPrograms programs_;
  std::set<std::string> databases_;
};

}  // namespace cairn::ingest
