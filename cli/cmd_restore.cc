#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/restore_dumps.h"
#include "cli/snapshot_selector.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/postgres_base.h"
#include "ingest/postgres_data_directory.h"
#include "ingest/restore.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxShown = 20;

struct Options {
  std::string snapshot;
  std::optional<std::string> series;
  std::optional<std::string> to;
  ingest::Overwrite overwrite = ingest::Overwrite::refuse;
  bool verify = false;

  // Instead of a folder.
  std::optional<std::string> to_dsn;
  std::vector<std::string> databases;
  std::optional<std::string> into;
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

std::string_view name_of(ingest::FailureCause cause) {
  switch (cause) {
    case ingest::FailureCause::damaged:
      return "damaged";
    case ingest::FailureCause::unsupported:
      return "unsupported";
    case ingest::FailureCause::differs:
      return "differs";
    case ingest::FailureCause::refused:
      return "refused";
    case ingest::FailureCause::io_error:
      return "io_error";
  }
  return "unknown";
}

std::string text_of(const ingest::Shortfall& shortfall) {
  std::string text = shortfall.what + " could not be set: " + shortfall.why +
                     ": " + shortfall.first;
  if (shortfall.count > 1) {
    text += " and " + count_text(shortfall.count - 1) + " more";
  }
  return text;
}

void print_json(const ingest::RestoreReport& report,
                const repo::Snapshot& snapshot, const std::string& target,
                double seconds, Context& context) {
  Json failures = Json::array();
  for (const auto& failure : report.failures) {
    Json json = Json::object();
    json.set_bytes("path", failure.path)
        .set("cause", name_of(failure.cause))
        .set("message", failure.what);
    failures.add(std::move(json));
  }
  Json shortfalls = Json::array();
  for (const auto& shortfall : report.shortfalls) {
    Json json = Json::object();
    json.set("what", shortfall.what)
        .set("why", shortfall.why)
        .set_bytes("first_path", shortfall.first)
        .set("count", shortfall.count);
    shortfalls.add(std::move(json));
  }
  Json json = Json::line("summary", context.now());
  json.set("snapshot_id", snapshot.id.hex())
      .set_bytes("target", target)
      .set("files", report.files)
      .set("hard_links", report.hard_links)
      .set("folders", report.folders)
      .set("symlinks", report.symlinks)
      .set("others", report.others)
      .set("kept", report.kept)
      .set("files_verified", report.files_read_back)
      .set("bytes_written", report.bytes_written)
      .set("bytes_unchanged", report.bytes_unchanged)
      .set("failure_count", report.failure_count)
      .set("damage_count", report.damage_count)
      .set("failures", std::move(failures))
      .set("shortfalls", std::move(shortfalls))
      .set("seconds", seconds);
  context.output.json(json);
}

void print_text(const ingest::RestoreReport& report,
                const repo::Snapshot& snapshot, const std::string& target,
                double seconds, Context& context) {
  for (std::size_t i = 0; i < std::min(report.failures.size(), kMaxShown);
       ++i) {
    const auto& failure = report.failures[i];
    context.output.warning(failure.path + ": " + failure.what);
  }
  if (report.failure_count > kMaxShown) {
    context.output.warning(count_text(report.failure_count - kMaxShown) +
                           " more entries were not restored");
  }
  for (const auto& shortfall : report.shortfalls) {
    context.output.warning(text_of(shortfall));
  }
  if (context.output.is_quiet()) return;
  std::string line = "restored snapshot " + snapshot.id.brief() + " to " +
                     target + ": " + counted(report.files, "file") + ", " +
                     counted(report.folders, "folder") + ", " +
                     size_text(report.bytes_written) + " written";
  if (report.bytes_unchanged > 0) {
    line += ", " + size_text(report.bytes_unchanged) + " were there already";
  }
  if (report.kept > 0) line += ", " + count_text(report.kept) + " left alone";
  if (report.files_read_back > 0) {
    line += ", " + count_text(report.files_read_back) + " read back";
  }
  context.output.note(line + ", in " + duration_text(seconds));
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

// Nothing: into a folder.
std::optional<DumpRestore> dump_restore(const Options& options) {
  if (!options.to_dsn) {
    if (!options.databases.empty() || options.into || options.clean ||
        options.places.bin_dir || options.places.container) {
      throw UsageError(
          "restore: --database, --into, --clean, --bin-dir and --docker go "
          "with --to-dsn, which says into which server");
    }
    return std::nullopt;
  }
  if (options.to || options.overwrite != ingest::Overwrite::refuse) {
    throw UsageError(
        "restore: --to and --overwrite are of folders, --to-dsn of a server");
  }
  return DumpRestore{.snapshot = options.snapshot,
                     .series = options.series,
                     .dsn = *options.to_dsn,
                     .databases = options.databases,
                     .into = options.into,
                     .into_existing = options.clean ? IntoExisting::clean
                                                    : IntoExisting::refuse,
                     .amcheck = options.verify ? ingest::PgAmcheckWanted::yes
                                               : ingest::PgAmcheckWanted::no,
                     .places = options.places};
}

ExitCode run(const Options& options, Context& context) {
  if (const auto dumps = dump_restore(options)) {
    return restore_dumps(*dumps, context);
  }
  if (!options.to) {
    throw UsageError(
        "restore: say where to with --to DIR; "
        "see 'cairn restore --help'");
  }
  if (options.to->empty()) {
    throw UsageError("restore: --to: an empty folder name");
  }
  auto repository = context.open_to_read();
  if (is_latest(options.snapshot)) context.require_that_latest_is();
  SnapshotSelector selector(context, repository, options.series);
  const auto selected = selector.select(options.snapshot);
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
      .read_back =
          options.verify ? ingest::ReadBack::yes : ingest::ReadBack::no,
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
    print_json(report, snapshot, *options.to, seconds, context);
  } else {
    print_text(report, snapshot, *options.to, seconds, context);
  }
  if (const auto version = postgres_version(snapshot);
      version && path.empty() && report.failure_count == 0) {
    for (const auto& note :
         ingest::finish_data_directory(*options.to, *version)) {
      context.output.note(note);
    }
  }
  ExitCode code = selector.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
  if (report.failure_count > 0) code = worse(code, ExitCode::partial);
  if (report.damage_count > 0) code = worse(code, ExitCode::damage);
  return code;
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
          "whole, at any moment. Nothing is ever deleted. With --to-dsn, the "
          "dumps of PostgreSQL's databases that a snapshot of 'pg dump' holds, "
          "or the one at PATH, are loaded into a server by pg_restore or psql, "
          "which end with the first error: first the roles that are not there, "
          "then each database, as a new one that gets its name when it is "
          "whole. An index that is not valid, or another number of rows than "
          "was dumped, is told of (3). A database that is there already is "
          "refused (16). One that fails leaves no database and the others "
          "alone: 3, or 1 when none was restored. A password comes by "
          "~/.pgpass, a service file or PGPASSWORD.",
      .examples =
          "cairn restore latest --to /tmp/restored\n"
          "cairn restore latest:/srv/www --to /srv/www --overwrite "
          "if-changed --verify\n"
          "cairn restore latest --to-dsn service=db --database shop --into "
          "shop_old",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP[:PATH]", options->snapshot);
            declare_series(flags, options->series);
            flags.value("--to", "DIR", options->to, "the folder to write into");
            flags.value(
                "--overwrite", "never|if-changed|always",
                [options](std::string_view text) {
                  options->overwrite = parse_overwrite(text);
                },
                "what becomes of what is there already");
            flags.flag("--verify", options->verify,
                       "read every file back and compare it; have pg_amcheck "
                       "read a restored database");
            flags.value("--to-dsn", "DSN", options->to_dsn,
                        "the server to load dumps into, without a password");
            flags.values("--database", "D", options->databases,
                         "load the dump of this one; may be repeated (default: "
                         "all of the snapshot)");
            flags.value("--into", "NAME", options->into,
                        "call the restored database so");
            flags.flag("--clean", options->clean,
                       "replace what is in a database that is there, in one "
                       "transaction (pg_restore --clean --if-exists)");
            declare_pg_places(flags, options->places);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
