#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "cli/backup_report.h"
#include "cli/backup_run.h"
#include "cli/commands.h"
#include "cli/compression_flag.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/pg_password.h"
#include "cli/pg_places.h"
#include "cli/pg_tables_document.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/backup.h"
#include "ingest/pg_dump.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<std::string> dsn;
  std::vector<std::string> databases;
  std::optional<std::string> series;
  std::vector<std::string> tags;
  ingest::PgDumpFormat format = ingest::PgDumpFormat::custom;
  repo::CompressionLevels compression;
  PgPlaces places;
};

ingest::PgDumpFormat format_of(std::string_view word) {
  if (word == "custom") return ingest::PgDumpFormat::custom;
  if (word == "plain") return ingest::PgDumpFormat::plain;
  throw UsageError("'" + std::string(word) + "' is neither custom nor plain");
}

void require_sense(const Options& options) {
  if (!options.dsn) {
    throw UsageError(
        "pg dump: which server? Give --dsn 'host=... user=...', or --dsn '' "
        "for what PGHOST, PGUSER and PGSERVICE say");
  }
  if (std::ranges::count(options.databases, "") > 0) {
    throw UsageError("pg dump: a database without a name");
  }
}

ingest::PgDumpOptions dump_options(const Options& options,
                                   std::string restrict_key,
                                   const Context& context) {
  std::vector<std::string> databases;  // each once
  for (const auto& database : options.databases) {
    if (std::ranges::find(databases, database) == databases.end()) {
      databases.push_back(database);
    }
  }
  return {.dsn = ingest::PgDumpDsn(*options.dsn, "--dsn",
                                   usual_database(options.places)),
          .places = program_places(options.places, "pg dump"),
          .databases = std::move(databases),
          .format = options.format,
          .restrict_key = std::move(restrict_key),
          .now = [&context] { return context.now(); }};
}

// Which database as of when, and by what it was dumped.
Json json_of(const ingest::PgDatabaseDump& dump) {
  Json json = Json::object();
  json.set_bytes("source", dump.source);
  if (!dump.database.empty()) json.set_bytes("database", dump.database);
  const auto& began = dump.stream->began();
  const auto& ended = dump.stream->ended();
  began ? json.set("began", *began) : json.set("began", nullptr);
  ended ? json.set("ended", *ended) : json.set("ended", nullptr);
  json.set("whole", ended.has_value());
  if (ended && !dump.database.empty()) {
    json.set("tables", dump.stream->table_count())
        .set("rows", dump.stream->row_count());
  }
  return json;
}

void print_dumps(const ingest::PgDump& dump, Output& output) {
  if (output.is_quiet()) return;
  for (const auto& one : dump.dumps()) {
    if (!one.stream->ended() || one.database.empty()) continue;
    output.line("  " + printable(one.source) + " is of " +
                local_time_text(*one.stream->began()) + ": " +
                counted(one.stream->row_count(), "row") + " in " +
                counted(one.stream->table_count(), "table"));
  }
}

ExitCode dry_run(const Options& options, const std::string& series,
                 Context& context) {
  const Interrupt interrupt;
  const ingest::PgDump dump(dump_options(options, "", context),
                            interrupt.token());
  std::vector<std::string> databases;
  for (const auto& one : dump.databases()) databases.push_back(one.name);
  if (context.output.is_json()) {
    context.output.json(
        Json::line("dry_run", context.now())
            .set("action", "pg dump")
            .set("series", series)
            .set("server_version", dump.server().version)
            .set("pg_dump_version", dump.programs().version.text)
            .set_bytes("databases", databases));
    return ExitCode::ok;
  }
  for (const auto& note : dump.notes()) context.output.note(note);
  std::string names;
  for (const auto& database : databases) {
    names += (names.empty() ? "" : ", ") + printable(database);
  }
  context.output.note("would dump " + names + " of PostgreSQL " +
                      dump.server().version + " by pg_dump " +
                      dump.programs().version.text + ", to series " + series);
  return ExitCode::ok;
}

ExitCode run(const Options& options, Context& context) {
  require_sense(options);
  hand_on_pg_password_from_command();
  const std::string series = series_to_save(options.series.value_or("pg"));
  if (context.options.is_dry_run) return dry_run(options, series, context);
  auto dumped = dump_options(options, "", context);

  auto repository = context.open_to_write();
  dumped.restrict_key = ingest::pg_restrict_key(repository.keyring());
  const Interrupt interrupt;
  ingest::PgDump dump(std::move(dumped), interrupt.token());
  auto [report, seconds] = run_backup(
      repository, dump.sources([&dump](const ingest::PgDatabaseDump& one) {
        return pg_tables_document(one, dump);
      }),
      {.series = series, .tags = options.tags, .levels = options.compression},
      {"pg dump", "source"}, context, interrupt.token());
  std::ranges::copy(dump.notes(), std::back_inserter(report.notes));
  if (context.output.is_json()) {
    Json dumps = Json::array();
    for (const auto& one : dump.dumps()) dumps.add(json_of(one));
    Json json = summary_of(report, series, seconds, context.now());
    json.set("server_version", dump.server().version)
        .set("pg_dump_version", dump.programs().version.text)
        .set("dumps", std::move(dumps));
    context.output.json(json);
  } else {
    print_summary(report, series, seconds, context.output);
    if (report.snapshot) print_dumps(dump, context.output);
  }
  return exit_code_of(report);
}

}  // namespace

Command pg_dump_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg dump",
      .group = CommandGroup::backup,
      .summary = "save PostgreSQL's databases by pg_dump",
      .text =
          "Saves the databases of a PostgreSQL server, each as NAME.dump for "
          "pg_restore (or NAME.sql for psql), with globals.sql, which holds "
          "roles and tablespaces, in one snapshot. Each dump is read to its "
          "end while it is saved; one that is cut, or whose pg_dump failed, "
          "leaves nothing and does not keep the others from being saved: 3, "
          "or 15 when nothing was. NAME.tables.json holds the number of rows "
          "that the dump has of each table, and the tables' sizes. Each "
          "database is as of the beginning of its dump; they are not of one "
          "moment. The programs are those of the server's own version, of "
          "this machine or in the server's container. A password comes by "
          "~/.pgpass, a service file, PGPASSWORD or "
          "CAIRN_PG_PASSWORD_COMMAND, never by --dsn.",
      .examples =
          "cairn pg dump --dsn 'host=db user=backup'\n"
          "cairn pg dump --dsn service=shop --database shop --database n8n\n"
          "cairn pg dump --dsn user=postgres --docker shop-postgres-1",
      .declare =
          [options](Flags& flags) {
            flags.value("--dsn", "DSN", options->dsn,
                        "the server, as libpq's programs take it, without a "
                        "password");
            flags.values("--database", "D", options->databases,
                         "save this one; may be repeated (default: all that "
                         "can be connected to and are no templates)");
            flags.text("--series", "S", options->series,
                       "the succession it belongs to (default: HOST/pg)");
            flags.texts("--tag", "T", options->tags,
                        "a word to find it by; may be repeated");
            flags.value(
                "--format", "custom|plain",
                [options](std::string_view text) {
                  options->format = format_of(text);
                },
                "for pg_restore (the default), or SQL for psql");
            declare_compression(flags, options->compression);
            declare_pg_places(flags, options->places);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
