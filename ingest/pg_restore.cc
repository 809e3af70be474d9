#include "ingest/pg_restore.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "ingest/byte_stream.h"
#include "ingest/child_process.h"
#include "ingest/patient_io.h"
#include "ingest/pg_dump_text.h"
#include "ingest/program_output.h"
#include "ingest/restricted_sql.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

std::string name_for_unfinished() {
  constexpr std::size_t kRandomBytes = 8;
  return std::string(kPgUnfinishedName) +
         crypto::to_hex(crypto::random_array<kRandomBytes>());
}

// What to do about it, where the programs do not say.
std::string advice_for(const std::string& said) {
  if (said.find("role \"") != std::string::npos &&
      said.find("does not exist") != std::string::npos) {
    return "; restore the roles first: SNAP:globals.sql";
  }
  if (said.find("invalid locale name") != std::string::npos ||
      said.find("invalid LC_") != std::string::npos) {
    return "; the server lacks that locale: install it, or make the database "
           "by hand and restore into it with --clean";
  }
  return {};
}

// pg_restore repeats the statement that failed, in which there may be the
// password of a user mapping or a subscription.
std::string without_statement(std::string said) {
  constexpr std::string_view kEnd = "; ";
  said.resize(std::min(said.find("Command was: "), said.size()));
  if (said.ends_with(kEnd)) said.resize(said.size() - kEnd.size());
  return said;
}

[[noreturn]] void fail(const std::string& what, const ProducerFailed& why) {
  const std::string said = without_statement(why.what());
  throw PgRestoreFailed(what + ": " + said + advice_for(said));
}

std::set<std::string> ask_names(const PgQuestions& questions,
                                const std::string& statement,
                                const std::stop_token& stop) {
  std::set<std::string> names;
  for (auto& row : ask(questions, 1, statement, stop)) {
    names.insert(std::move(row[0]));
  }
  return names;
}

// Reads SQL on its way to psql.
class Watched {
 public:
  // Throws ProducerFailed, and repo::RefusedForSafety when it leads to another
  // database than the one that was made for it.
  void add(std::span<const std::byte> bytes) {
    scanner_.add(bytes);
    if (scanner_.connects()) {
      throw repo::RefusedForSafety(
          "the dump names the database that it goes to (pg_dump --create), "
          "which may be there and in use; 'cairn cat SNAP:PATH | psql' runs it "
          "as it is");
    }
  }
  void finish() { scanner_.finish(); }

 private:
  DumpTextScanner scanner_{DumpTextKind::database};
};

}  // namespace

// A database that is dropped again unless it gets its name.
class PgTarget::Unfinished {
 public:
  Unfinished(PgTarget& target, std::string name)
      : target_(target), name_(std::move(name)) {
    target_.databases_.insert(name_);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  // An interruption is why we are here, and no reason to leave it behind.
  ~Unfinished() {
    if (name_.empty()) return;
    try {
      tell(target_.questions(target_.server_.database),
           "DROP DATABASE IF EXISTS " + pg_identifier(name_) + " WITH (FORCE)",
           std::stop_token());
      target_.databases_.erase(name_);
    } catch (const std::exception&) {
      // unfinished() tells of it.
    }
  }

  void rename(const std::string& name, const std::stop_token& stop) {
    tell(target_.questions(target_.server_.database),
         "ALTER DATABASE " + pg_identifier(name_) + " RENAME TO " +
             pg_identifier(name),
         stop);
    target_.databases_.erase(name_);
    target_.databases_.insert(name);
    name_.clear();
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  PgTarget& target_;
  std::string name_;
};

PgTarget::PgTarget(PgDumpDsn dsn, const PgProgramPlaces& places, int dump_major,
                   const std::stop_token& stop)
    : dsn_(std::move(dsn)) {
  const PgQuestions first{find_psql(places), dsn_.with_any_database()};
  server_ = ask_server(first, stop);
  programs_ = find_restore_programs(places, server_.major, dump_major, stop);
  databases_ =
      ask_names(first, "SELECT datname FROM pg_catalog.pg_database", stop);
}

PgQuestions PgTarget::questions(const std::string& database) const {
  return {programs_.programs, dsn_.with_database(database)};
}

std::vector<std::string> PgTarget::unfinished() const {
  std::vector<std::string> names;
  for (const auto& name : databases_) {
    if (is_pg_unfinished_name(name)) names.push_back(name);
  }
  return names;
}

PgGlobals PgTarget::load_globals(std::string_view text,
                                 const std::stop_token& stop) {
  try {
    const auto here = questions(server_.database);
    const PgGlobalNames existing{
        .roles =
            ask_names(here, "SELECT rolname FROM pg_catalog.pg_roles", stop),
        .tablespaces = ask_names(
            here, "SELECT spcname FROM pg_catalog.pg_tablespace", stop)};
    PgGlobals globals = globals_without(text, existing);
    run_script(here, globals.script, stop);
    return globals;
  } catch (const ProducerFailed& e) {
    fail("roles and tablespaces, without which SNAP:NAME.dump restores", e);
  }
}

// Before anything is made, and in better words than those in which pg_restore
// lacks a file.
void PgTarget::require_extensions(const PgDumpToLoad& dump,
                                  const std::stop_token& stop) const {
  if (!dump.traits) return;
  const auto available =
      ask_names(questions(server_.database),
                "SELECT name FROM pg_catalog.pg_available_extensions", stop);
  std::string lacking;
  for (const auto& extension : dump.traits->extensions) {
    if (available.contains(extension.name)) continue;
    lacking += (lacking.empty() ? "" : ", ") + extension.name + " (" +
               extension.version + ")";
  }
  if (lacking.empty()) return;
  throw PgRestoreFailed(
      "the server lacks what the database was made with: extension " + lacking +
      "; install it there, and restore again");
}

// Gives the dump to a program that reads it to its end.
void PgTarget::pour(const PgDumpToLoad& dump, std::vector<std::string> words,
                    const std::stop_token& stop) const {
  const bool is_sql = dump.kind == PgDumpKind::sql;
  words.emplace_back("--no-password");
  const std::string program = is_sql ? "psql" : "pg_restore";
  ChildProcess child(programs_.programs.call(program, std::move(words)),
                     ChildProcess::Input::pipe, ChildProcess::Errors::kept);
  Watched watched;
  RestrictedSql restricted;
  bool is_taken = true;
  const auto give = [&](std::string_view text) {
    is_taken = is_taken &&
               write_patiently(child.input(), std::as_bytes(std::span(text)),
                               stop) == Written::all;
  };
  const StreamEnd end = dump.content([&](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                bytes.size());
    if (is_sql) watched.add(bytes);
    if (is_sql && programs_.has_restrict_key) {
      restricted.add(text, give);
    } else {
      give(text);
    }
    return is_taken ? repo::Visit::go_on : repo::Visit::stop;
  });
  if (is_sql && programs_.has_restrict_key) restricted.close(give);
  child.close_input();
  wait_and_quote_errors(child, stop);
  // The zeros at the end of a tar archive are of interest to nobody.
  if (end == StreamEnd::not_wanted && dump.kind != PgDumpKind::tar) {
    throw ProducerFailed(program + ": ended before the dump did");
  }
  if (is_sql) watched.finish();
}

void PgTarget::fill(const PgDumpToLoad& dump, const std::string& database,
                    const std::stop_token& stop) const {
  const std::string place = "--dbname=" + dsn_.with_database(database);
  if (dump.kind == PgDumpKind::sql) {
    pour(dump,
         {"--no-psqlrc", "--quiet", "--output=/dev/null",
          "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse",
          "--set=SHOW_CONTEXT=never", "--file=-", place},
         stop);
  } else {
    pour(dump, {"--exit-on-error", place}, stop);
  }
}

PgLoaded PgTarget::look_at(const std::string& database,
                           const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                           const std::stop_token& stop) const {
  const auto there = questions(database);
  const auto before =
      dump.tables ? dump.tables() : std::vector<PgTableBefore>();
  PgLoaded loaded{.comparison = compare_tables(there, before, stop),
                  .indexes = ask_indexes(there, stop),
                  .amcheck = {},
                  .notes = {}};
  if (amcheck == PgAmcheckWanted::yes) {
    loaded.amcheck = run_pg_amcheck(there, server_.major, stop);
  }
  return loaded;
}

std::optional<std::string> PgTarget::owner_for(
    const PgDumpToLoad& dump, std::vector<std::string>& notes,
    const std::stop_token& stop) const {
  if (!dump.traits) return std::nullopt;
  const auto roles = ask_names(questions(server_.database),
                               "SELECT rolname FROM pg_catalog.pg_roles", stop);
  if (roles.contains(dump.traits->owner)) return dump.traits->owner;
  notes.push_back("the server has no role " + dump.traits->owner +
                  ", to whom it belonged");
  return std::nullopt;
}

// What was refused is told of: a database without a setting is better than
// none.
void PgTarget::finish(const std::string& database, const PgDumpToLoad& dump,
                      PgLoaded& loaded, const std::stop_token& stop) const {
  if (!dump.traits) return;
  const auto here = questions(server_.database);
  for (const auto& [what, script] : finish_database(database, *dump.traits)) {
    try {
      run_script(here, script, stop);
    } catch (const ProducerFailed& e) {
      loaded.notes.push_back(what + " was not restored: " + e.what());
    }
  }
}

PgLoaded PgTarget::load(const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                        const std::stop_token& stop) {
  assert(!has_database(dump.into));
  const std::string unfinished = name_for_unfinished();
  try {
    require_extensions(dump, stop);
    std::vector<std::string> notes;
    if (dump.kind == PgDumpKind::sql && !programs_.has_restrict_key) {
      notes.push_back("psql " + programs_.version.text +
                      " runs shell commands that a dump in SQL names; newer "
                      "ones (15.14, 16.10, 17.6) can be told not to");
    }
    const auto owner = owner_for(dump, notes, stop);
    Unfinished database(*this, unfinished);
    tell(questions(server_.database),
         create_database(unfinished, dump.traits, owner, server_.major), stop);
    fill(dump, unfinished, stop);
    PgLoaded loaded = look_at(unfinished, dump, amcheck, stop);
    loaded.notes = std::move(notes);
    finish(unfinished, dump, loaded, stop);
    database.rename(dump.into, stop);
    return loaded;
  } catch (const ProducerFailed& e) {
    fail(has_database(unfinished)
             ? "the dump was not loaded, and what there is of it is left as "
               "database " +
                   unfinished
             : std::string("the dump was not loaded, and no database is left"),
         e);
  }
}

PgLoaded PgTarget::load_over(const PgDumpToLoad& dump, PgAmcheckWanted amcheck,
                             const std::stop_token& stop) {
  return load_into_existing(dump, {"--clean", "--if-exists"}, amcheck, stop);
}

PgLoaded PgTarget::load_beside(const PgDumpToLoad& dump,
                               PgAmcheckWanted amcheck,
                               const std::stop_token& stop) {
  return load_into_existing(dump, {}, amcheck, stop);
}

PgLoaded PgTarget::load_into_existing(const PgDumpToLoad& dump,
                                      std::vector<std::string> words,
                                      PgAmcheckWanted amcheck,
                                      const std::stop_token& stop) {
  assert(has_database(dump.into) && dump.kind != PgDumpKind::sql);
  words.insert(words.end(), {"--single-transaction", "--exit-on-error",
                             "--dbname=" + dsn_.with_database(dump.into)});
  try {
    require_extensions(dump, stop);
    pour(dump, std::move(words), stop);
  } catch (const ProducerFailed& e) {
    fail("the dump was not loaded, and the database is as it was", e);
  }
  try {
    return look_at(dump.into, dump, amcheck, stop);
  } catch (const ProducerFailed& e) {
    fail("the dump was loaded, but cannot be compared", e);
  }
}

bool PgTarget::has_schema(const std::string& database,
                          const std::string& schema,
                          const std::stop_token& stop) const {
  return ask_names(questions(database),
                   "SELECT nspname FROM pg_catalog.pg_namespace", stop)
      .contains(schema);
}

}  // namespace cairn::ingest
