#include <charconv>
#include <memory>
#include <utility>

#include "cli/backup_report.h"
#include "cli/backup_run.h"
#include "cli/commands.h"
#include "cli/compression_flag.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/backup.h"
#include "ingest/postgres_base.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fact = ingest::postgres_fact;

constexpr std::string_view kSeries = "pg";
constexpr std::string_view kSourceName = "postgres";

struct BaseOptions {
  std::optional<std::string> dsn;
  std::optional<std::string> series;
  std::vector<std::string> tags;
  ingest::Checkpoint checkpoint = ingest::Checkpoint::fast;
  std::optional<unsigned> max_rate_kib;
  repo::CompressionLevels compression;
};

ingest::Checkpoint checkpoint_of(std::string_view word) {
  if (word == "fast") return ingest::Checkpoint::fast;
  if (word == "spread") return ingest::Checkpoint::spread;
  throw UsageError("'" + std::string(word) + "' is neither fast nor spread");
}

// What the server takes: kibibytes per second.
unsigned rate_of(std::string_view text) {
  constexpr std::uint64_t kKib = 1024;
  constexpr std::uint64_t kLeast = 32 * kKib;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  const auto bytes = parse_size(text);
  if (bytes < kLeast || bytes > kMost) {
    throw UsageError("'" + std::string(text) +
                     "' is not from 32KiB to 1GiB a second");
  }
  return static_cast<unsigned>(bytes / kKib);
}

std::unique_ptr<ingest::PostgresBase> connect(const BaseOptions& options,
                                              const std::stop_token& stop) {
  const auto password = pg_password_from_command();
  auto connection = ingest::PostgresConnection::connect(
      {.dsn = options.dsn.value_or(""),
       .mode = ingest::PostgresConnection::Mode::replication,
       .password = password ? password->view() : std::string_view()},
      stop);
  return std::make_unique<ingest::PostgresBase>(
      std::move(connection),
      ingest::BaseBackupCommand{.label = "cairn",
                                .checkpoint = options.checkpoint,
                                .max_rate_kib = options.max_rate_kib},
      stop);
}

ExitCode dry_run(const BaseOptions& options, const std::string& series,
                 Context& context) {
  const Interrupt interrupt;
  const auto base = connect(options, interrupt.token());
  const auto& cluster = base->cluster();
  if (context.output.is_json()) {
    context.output.json(Json::line("dry_run", context.now())
                            .set("action", "pg base")
                            .set("series", series)
                            .set("server", cluster.place)
                            .set("server_version", cluster.version)
                            .set("system_identifier", cluster.system_identifier)
                            .set("timeline", cluster.timeline));
  } else {
    context.output.note("would back up cluster " + cluster.system_identifier +
                        " of PostgreSQL " + printable(cluster.version) +
                        " at " + printable(cluster.place) + ", to series " +
                        series);
  }
  return ExitCode::ok;
}

std::vector<std::pair<std::string, std::string>> tablespaces_of(
    const repo::SourceReport& source) {
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [name, value] : source.facts) {
    if (name.starts_with(fact::kTablespace)) {
      found.emplace_back(name.substr(fact::kTablespace.size()), value);
    }
  }
  return found;
}

void print_json(const ingest::BackupReport& report, const std::string& series,
                double seconds, Context& context) {
  const auto& source = report.sources.front();
  Json tablespaces = Json::array();
  for (const auto& [oid, location] : tablespaces_of(source)) {
    Json json = Json::object();
    json.set("oid", oid).set("location", location);
    tablespaces.add(std::move(json));
  }
  Json json = summary_of(report, series, seconds, context.now());
  for (const auto name :
       {fact::kServerVersion, fact::kSystemIdentifier, fact::kTimeline,
        fact::kStartLsn, fact::kEndLsn, fact::kEndTime, fact::kSource}) {
    if (const auto value = source.fact(name)) json.set(name, *value);
  }
  json.set("tablespaces", std::move(tablespaces))
      .set("files", report.files_new);
  context.output.json(json);
}

void print_text(const ingest::BackupReport& report, const std::string& series,
                double seconds, Context& context) {
  print_summary(report, series, seconds, context.output);
  if (context.output.is_quiet() || !report.snapshot) return;
  const auto& source = report.sources.front();
  const auto value = [&](std::string_view name) {
    return printable(source.fact(name).value_or("?"));
  };
  std::string cluster = "  cluster " + value(fact::kSystemIdentifier) +
                        ", PostgreSQL " + value(fact::kServerVersion) + ", " +
                        value(fact::kSource);
  const auto tablespaces = tablespaces_of(source).size();
  if (tablespaces > 0) cluster += ", " + counted(tablespaces, "tablespace");
  context.output.line(cluster);
  context.output.line("  wal     " + value(fact::kStartLsn) + " to " +
                      value(fact::kEndLsn) + ", timeline " +
                      value(fact::kTimeline));
}

ExitCode run_base(const BaseOptions& options, Context& context) {
  const std::string series =
      series_to_save(options.series.value_or(std::string(kSeries)));
  if (context.options.is_dry_run) return dry_run(options, series, context);

  auto repository = context.open_to_write();
  const Interrupt interrupt;
  std::vector<ingest::Source> sources;
  sources.emplace_back(
      ingest::TreeToBackUp{.name = std::string(kSourceName),
                           .kind = repo::SourceKind::postgres_base,
                           .tree = connect(options, interrupt.token())});
  const auto [report, seconds] = run_backup(
      repository, std::move(sources),
      {.series = series, .tags = options.tags, .levels = options.compression},
      {"base backup", "file"}, context, interrupt.token());
  if (context.output.is_json()) {
    print_json(report, series, seconds, context);
  } else {
    print_text(report, series, seconds, context);
  }
  return exit_code_of(report);
}

}  // namespace

Command pg_base_command() {
  const auto options = std::make_shared<BaseOptions>();
  return {
      .name = "pg base",
      .group = CommandGroup::backup,
      .summary = "save a whole PostgreSQL cluster as it runs",
      .text =
          "Takes a physical base backup of a PostgreSQL cluster, version 13 to "
          "18, primary or standby, by one ordinary connection; nothing has to "
          "be set up on the server. The role needs REPLICATION, and to save "
          "configuration that lies outside the data directory also "
          "pg_read_all_settings, pg_read_server_files and EXECUTE on "
          "pg_stat_file and pg_read_binary_file. The snapshot holds "
          "the files of the data directory, tablespaces below pg_tblspc, and "
          "the WAL that it takes to start from them, each file compared with "
          "the server's manifest; 'cairn restore SNAP --to DIR' makes it a "
          "data directory again. DSN is a URI or key=value pairs as psql takes "
          "them; what it does not say comes from a service file, PG* variables "
          "and the password file. It may not hold a password: use a password "
          "file, a service file, PGPASSWORD, or CAIRN_PG_PASSWORD_COMMAND, a "
          "command that writes it. Ends with 3 when the server reports damaged "
          "pages, and with 15 when the backup failed, of which nothing is "
          "kept then.",
      .examples =
          "cairn pg base --dsn postgresql://backup@db.example/postgres\n"
          "cairn pg base --dsn service=shop --series shop --max-rate 50MiB",
      .declare =
          [options](Flags& flags) {
            flags.value("--dsn", "DSN", options->dsn,
                        "which server, and as whom; without a password");
            flags.text("--series", "S", options->series,
                       "the succession it belongs to (default: HOST/pg)");
            flags.texts("--tag", "T", options->tags,
                        "a word to find it by; may be repeated");
            flags.value(
                "--checkpoint", "fast|spread",
                [options](std::string_view text) {
                  options->checkpoint = checkpoint_of(text);
                },
                "begin at once, or spare the server's disk (default: fast)");
            flags.value(
                "--max-rate", "SIZE",
                [options](std::string_view text) {
                  options->max_rate_kib = rate_of(text);
                },
                "how much the server sends in a second at most");
            declare_compression(flags, options->compression);
          },
      .run =
          [options](Context& context) { return run_base(*options, context); },
  };
}

}  // namespace cairn::cli
