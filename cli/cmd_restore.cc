#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/restore_dumps.h"
#include "cli/restore_extract.h"
#include "cli/restore_recovery.h"
#include "cli/restore_redis.h"
#include "cli/restore_report.h"
#include "cli/snapshot_selector.h"
#include "cli/usage_error.h"
#include "ingest/postgres_base.h"
#include "ingest/postgres_data_directory.h"
#include "ingest/restore.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<std::string> snapshot;
  RecoveryRequest recovery;
  std::optional<std::string> series;
  std::optional<std::string> to;
  ingest::Overwrite overwrite = ingest::Overwrite::refuse;

  // Instead of a folder.
  std::optional<std::string> to_redis_dir;
  std::optional<std::string> to_dsn;
  std::optional<std::string> to_dump;
  std::vector<std::string> databases;
  std::vector<std::string> tables;
  std::optional<std::string> into;
  std::optional<std::string> schema;
  bool clean = false;
  PgPlaces places;
};

struct OverwriteName {
  std::string_view name;
  ingest::Overwrite overwrite;
};
constexpr std::array kOverwriteNames = {
    OverwriteName{"never", ingest::Overwrite::never},
    OverwriteName{"if-changed", ingest::Overwrite::if_changed},
    OverwriteName{"always", ingest::Overwrite::always},
};

ingest::Overwrite parse_overwrite(std::string_view text) {
  for (const auto& [name, overwrite] : kOverwriteNames) {
    if (name == text) return overwrite;
  }
  throw UsageError("'" + std::string(text) +
                   "' is none of never, if-changed, always");
}

void print_dry_run(const SnapshotSelector::Selected& selected,
                   const std::string& target, Context& context) {
  const auto& id = selected.snapshot.snapshot.id;
  if (context.output.is_json()) {
    Json json = Json::line("dry_run", context.now());
    json.set("action", "restore")
        .set("snapshot_id", id.hex())
        .set_bytes("path", selected.path)
        .set_bytes("target", target);
    context.output.json(json);
    return;
  }
  context.output.note(
      "would restore " +
      (selected.path.empty() ? "all of" : "/" + selected.path + " of") +
      " snapshot " + id.brief() + " to " + target);
}

// Of a snapshot that is a whole cluster, the version of its server; nothing: it
// is none.
std::optional<std::string> postgres_version(const repo::Snapshot& snapshot) {
  if (!snapshot.record) return std::nullopt;
  for (const auto& source : snapshot.record->sources) {
    if (source.kind != repo::SourceKind::postgres_base) continue;
    return source.fact(ingest::postgres_fact::kServerVersion).value_or("");
  }
  return std::nullopt;
}

// Whether anything is given that only databases have.
bool is_of_databases(const Options& options) {
  return options.to_dsn || options.to_dump || !options.databases.empty() ||
         !options.tables.empty() || options.into || options.schema ||
         options.clean;
}

// Dumps of a snapshot, into a server.
DumpRestore dump_restore(const Options& options) {
  if (!options.to_dsn) {
    throw UsageError(
        "restore: --database, --into and --clean go with --to-dsn, which says "
        "into which server");
  }
  if (options.to_dump || !options.tables.empty() || options.schema) {
    throw UsageError(
        "restore: --table, --schema and --to-dump go with --at; a dump of a "
        "snapshot is written by 'cairn cat SNAP:PATH'");
  }
  return DumpRestore{.snapshot = *options.snapshot,
                     .series = options.series,
                     .dsn = *options.to_dsn,
                     .databases = options.databases,
                     .into = options.into,
                     .into_existing = options.clean ? IntoExisting::clean
                                                    : IntoExisting::refuse,
                     .amcheck = options.recovery.verify
                                    ? ingest::PgAmcheckWanted::yes
                                    : ingest::PgAmcheckWanted::no,
                     .places = options.places};
}

// One database of a cluster at a moment.
ExtractRequest extract_request(const Options& options) {
  if (options.databases.size() != 1 || options.clean) {
    throw UsageError(
        "restore: one database at a moment is named by --database D, and "
        "restored as a new one, without --clean");
  }
  if (options.recovery.verify || options.recovery.delivery) {
    throw UsageError(
        "restore: --verify and --wal are of a folder that is recovered, --to "
        "DIR");
  }
  return {.recovery = options.recovery,
          .series = options.series,
          .database = options.databases.front(),
          .tables = options.tables,
          .to_dump = options.to_dump,
          .to_dsn = options.to_dsn,
          .into = options.into,
          .schema = options.schema,
          .places = options.places};
}

ExitCode restore_databases(const Options& options, Context& context) {
  if (options.to || options.overwrite != ingest::Overwrite::refuse) {
    throw UsageError(
        "restore: --to and --overwrite are of folders, --to-dsn of a server");
  }
  if (options.recovery.target) {
    return restore_extract(extract_request(options), context);
  }
  return restore_dumps(dump_restore(options), context);
}

// A snapshot or a moment, and nothing that goes with the other alone.
void require_fitting(const Options& options) {
  const std::string see = "; see 'cairn restore --help'";
  const auto& recovery = options.recovery;
  if (!recovery.target) {
    if (!options.snapshot) {
      throw UsageError("restore: say what: SNAP, or a moment with --at" + see);
    }
    if (const auto flag = recovery.flag_without_target()) {
      throw UsageError("restore: " + *flag + " goes with --at alone" + see);
    }
    return;
  }
  if (options.snapshot) {
    throw UsageError(
        "restore: which base backup it is follows from the moment; leave SNAP "
        "out, or the moment" +
        see);
  }
  if (options.overwrite != ingest::Overwrite::refuse) {
    throw UsageError(
        "restore: a cluster is recovered into an empty folder; leave "
        "--overwrite out" +
        see);
  }
}

// A Redis dump of a snapshot, into the folder of a server.
ExitCode restore_redis_dump(const Options& options, Context& context) {
  if (options.to || options.overwrite != ingest::Overwrite::refuse ||
      options.recovery.target || is_of_databases(options) ||
      options.places.container || options.places.bin_dir) {
    throw UsageError(
        "restore: --to-redis-dir goes with SNAP[:PATH], --series and --verify "
        "alone; see 'cairn restore --help'");
  }
  return restore_redis({.snapshot = *options.snapshot,
                        .series = options.series,
                        .folder = *options.to_redis_dir,
                        .verify = options.recovery.verify},
                       context);
}

ExitCode run(const Options& options, Context& context) {
  require_fitting(options);
  if (options.to_redis_dir) return restore_redis_dump(options, context);
  if (is_of_databases(options)) return restore_databases(options, context);
  if (options.places.container ||
      (options.places.bin_dir && !options.recovery.target)) {
    throw UsageError("restore: --bin-dir and --docker go with --to-dsn");
  }
  if (!options.to) {
    throw UsageError(
        "restore: say where to with --to DIR; "
        "see 'cairn restore --help'");
  }
  if (options.to->empty()) {
    throw UsageError("restore: --to: an empty folder name");
  }
  if (options.recovery.target) {
    return restore_to_moment(options.recovery, options.series, *options.to,
                             context);
  }
  auto repository = context.open_to_read();
  if (is_latest(*options.snapshot)) context.require_that_latest_is();
  SnapshotSelector selector(context, repository, options.series);
  const auto selected = selector.select(*options.snapshot);
  const auto& snapshot = selected.snapshot.snapshot;
  const std::string& path = selected.path;
  if (!path.empty()) (void)selector.entry_at(selected);
  if (context.options.is_dry_run) {
    ingest::require_target(*options.to, options.overwrite);
    print_dry_run(selected, *options.to, context);
    return ExitCode::ok;
  }
  const ingest::RestoreOptions how{
      .path = path,
      .target = *options.to,
      .overwrite = options.overwrite,
      .read_back = options.recovery.verify ? ingest::ReadBack::yes
                                           : ingest::ReadBack::no,
      .workers = std::clamp(std::thread::hardware_concurrency(), 1U, 8U),
      .bound = repo::TreeBound(snapshot.header)};
  const auto began = std::chrono::steady_clock::now();
  repo::Progress progress;
  ingest::RestoreReport report;
  {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"restore", "file"}, progress);
    report = ingest::restore(repository, snapshot.header.root, how, progress,
                             interrupt.token());
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
          .count();
  if (context.output.is_json()) {
    context.output.json(
        summary_of(report, snapshot, *options.to, seconds, context.now()));
  } else {
    print_summary(report, snapshot, *options.to, seconds, context.output);
  }
  if (const auto version = postgres_version(snapshot);
      version && path.empty() && report.failure_count == 0) {
    for (const auto& note :
         ingest::finish_data_directory(*options.to, *version)) {
      context.output.note(note);
    }
  }
  return selector.is_in_doubt() ? ExitCode::damage : exit_code_of(report);
}

}  // namespace

Command restore_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "restore",
      .group = CommandGroup::backup,
      .summary = "write a snapshot, or a part of it, into a folder",
      .text =
          "Restores a snapshot below a folder, with full paths; or, with "
          ":PATH, "
          "what lies at that path straight into the folder. The folder must be "
          "empty or absent unless --overwrite says what becomes of files that "
          "are there: never touches them, if-changed replaces those that "
          "differ, always replaces them all. A file is there, old or new and "
          "whole, at any moment. What a restore that was killed left beside "
          "one, .cairn-PROCESS-NUMBER, is removed by the next one into that "
          "folder; nothing else is ever deleted. never leaves folders that are "
          "there their modes and owners, too: after a restore that was cut "
          "short, if-changed is the one that completes it. "
          "With --at, or another target, restores a PostgreSQL cluster to a "
          "moment: the newest base backup before it into an empty folder, the "
          "WAL from there to the moment into DIR/cairn_wal, and the settings "
          "by which a server that is started there recovers to that moment by "
          "itself and is promoted; it needs neither repository nor key. Which "
          "moments there are, 'cairn pg range' shows; one that cannot be "
          "reached is refused (16) before anything is written. --verify runs "
          "the recovery, on a server of its own on a socket of its own, checks "
          "the result and stops it; DIR is then a cluster at that moment, "
          "promoted, to be started. It ends with 5 when that failed. With "
          "--database D, one database or --table of it is taken out of a "
          "cluster that is recovered so in TMPDIR, into a file or a server. "
          "With --to-dsn, the "
          "dumps of PostgreSQL's databases that a snapshot of 'pg dump' or "
          "'run' holds, "
          "or those of the folder or the one at PATH, are loaded into a server "
          "by pg_restore or psql, "
          "which end with the first error: first the roles that are not there, "
          "then each database, as a new one that gets its name when it is "
          "whole. An index that is not valid, or another number of rows than "
          "was dumped, is told of (3). A database that is there already is "
          "refused (16). One that fails leaves no database and the others "
          "alone: 3, or 1 when none was restored. A password comes by "
          "~/.pgpass, a service file or PGPASSWORD. "
          "With --to-redis-dir, a Redis dump, of PATH or the only one, is put "
          "where a server that is started in that folder finds it, with "
          "append-only files or without. It is refused (16) while a server "
          "works there. What is there is moved aside, never deleted. With "
          "--verify, servers of its own load it first, and it ends with 5, and "
          "with all as it was, when they have not the keys that were saved.",
      .examples =
          "cairn restore latest --to /tmp/restored\n"
          "cairn restore --at '2026-11-27 08:01:02+00' --to /srv/pg --verify\n"
          "cairn restore latest:/srv/www --to /srv/www --overwrite "
          "if-changed --verify\n"
          "cairn restore latest --to-dsn service=db --database shop --into "
          "shop_old\n"
          "cairn restore latest:redis --to-redis-dir /var/lib/redis --verify",
      .declare =
          [options](Flags& flags) {
            flags.optional_argument("SNAP[:PATH]", options->snapshot);
            declare_series(flags, options->series);
            flags.value("--to", "DIR", options->to, "the folder to write into");
            flags.value(
                "--overwrite", "never|if-changed|always",
                [options](std::string_view text) {
                  options->overwrite = parse_overwrite(text);
                },
                "what becomes of what is there already");
            flags.flag("--verify", options->recovery.verify,
                       "read every file back and compare it; with --at, "
                       "recover as well, and check what came of it; with "
                       "--to-dsn, have pg_amcheck read the result; with "
                       "--to-redis-dir, have servers load it first");
            flags.value("--to-redis-dir", "DIR", options->to_redis_dir,
                        "the folder of a stopped Redis server to put a dump "
                        "into");
            flags.value("--to-dsn", "DSN", options->to_dsn,
                        "the server to load dumps into, without a password");
            flags.values("--database", "D", options->databases,
                         "load the dump of this one; may be repeated (default: "
                         "all of the snapshot); with --at, which one");
            flags.value("--into", "NAME", options->into,
                        "call the restored database so");
            flags.flag("--clean", options->clean,
                       "replace what is in a database that is there, in one "
                       "transaction (pg_restore --clean --if-exists)");
            flags.values("--table", "S.T", options->tables,
                         "with --at: this table alone, spelled as in SQL; may "
                         "be repeated");
            flags.value("--schema", "NAME", options->schema,
                        "with --at, --table and --to-dsn: put them into a new "
                        "schema of the database that is there");
            flags.value("--to-dump", "FILE", options->to_dump,
                        "with --at: dump into this file, as SQL if it ends "
                        "with .sql");
            declare_pg_places(flags, options->places);
            declare_recovery(flags, options->recovery);
          },
      .run =
          [options](Context& context) {
            options->recovery.settle();
            options->recovery.bin_dir = options->places.bin_dir;
            return run(*options, context);
          },
  };
}

}  // namespace cairn::cli
