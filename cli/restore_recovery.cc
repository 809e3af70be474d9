#include "cli/restore_recovery.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>

#include "cli/interrupt.h"
#include "cli/pg_series.h"
#include "cli/printable.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/restore_report.h"
#include "cli/series.h"
#include "cli/temporary_folder.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/postgres_data_directory.h"
#include "ingest/recovery_files.h"
#include "ingest/recovery_server.h"
#include "ingest/restore.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

using ingest::RecoveryCluster;
using ingest::RecoveryPlan;
using ingest::RecoveryTarget;
using Kind = RecoveryTarget::Kind;

constexpr std::string_view kLatest = "latest";
constexpr std::uint64_t kMost32 = UINT32_MAX;

RecoveryTarget target_at(std::string_view text) {
  RecoveryTarget target;
  if (text == kLatest) return target;
  target.kind = Kind::time;
  if (const auto time = parse_time(text, Zone::required)) {
    if (const auto moment = ingest::to_wal_time(*time)) {
      target.time = *moment;
      return target;
    }
  }
  if (parse_time(text, Zone::local)) {
    throw UsageError("'" + std::string(text) +
                     "' has no time zone: write Z for UTC, or an offset such "
                     "as +01:00, behind it");
  }
  throw UsageError("'" + std::string(text) +
                   "' is no time such as 2026-11-27T08:01:02Z or '2026-11-27 "
                   "08:01:02.123456+00', as 'select now()' prints it, nor "
                   "'latest'");
}

RecoveryTarget target_lsn(std::string_view text) {
  const auto lsn = ingest::parse_lsn(text);
  if (!lsn) {
    throw UsageError("'" + std::string(text) +
                     "' is no place in WAL such as 16/B374D848");
  }
  RecoveryTarget target;
  target.kind = Kind::lsn;
  target.lsn = *lsn;
  return target;
}

RecoveryTarget target_xid(std::string_view text) {
  constexpr std::uint32_t kFirstNormal = 3;
  RecoveryTarget target;
  target.kind = Kind::transaction;
  // As txid_current() says it, with an epoch above the 32 bits that WAL has.
  target.transaction =
      static_cast<std::uint32_t>(parse_count(text, UINT64_MAX) & kMost32);
  if (target.transaction < kFirstNormal) {
    throw UsageError("'" + std::string(text) + "' is no transaction's number");
  }
  return target;
}

RecoveryTarget target_name(std::string_view text) {
  constexpr std::size_t kMostBytes = 63;  // the server keeps no more
  const bool has_control = std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (text.empty() || text.size() > kMostBytes || has_control) {
    throw UsageError("a restore point's name has 1 to 63 bytes, on one line");
  }
  RecoveryTarget target;
  target.kind = Kind::name;
  target.name = text;
  return target;
}

void set_target(RecoveryRequest& request, RecoveryTarget target) {
  if (request.target) {
    throw UsageError(
        "one target is enough: --at, --target-lsn, --target-xid, --target-name "
        "or --immediate");
  }
  request.target = std::move(target);
}

// Of several clusters in a series, one after another, the one that lived at the
// moment; else that of the newest base.
const RecoveryCluster& choose_cluster(
    const std::vector<RecoveryCluster>& clusters,
    const RecoveryTarget& target) {
  const RecoveryCluster* newest = nullptr;
  const RecoveryCluster* before = nullptr;
  repo::Timestamp newest_time;
  repo::Timestamp before_time;
  for (const auto& cluster : clusters) {
    for (const auto& base : cluster.bases) {
      const auto time =
          base.end_time.value_or(base.snapshot->snapshot.header.time);
      if (!newest || newest_time < time) {
        newest = &cluster;
        newest_time = time;
      }
      const bool is_before = target.kind == Kind::time &&
                             time <= ingest::to_timestamp(target.time);
      if (is_before && (!before || before_time < time)) {
        before = &cluster;
        before_time = time;
      }
    }
  }
  if (before) return *before;
  return newest ? *newest : clusters.front();
}

std::string major_of(std::string_view version) {
  return std::string(
      version.substr(0, version.find_first_not_of("0123456789")));
}

// A server that replays the creation of a tablespace writes where the live one
// has it.
void require_safe_tablespaces(const RecoveryPlan& plan, Context& context) {
  if (plan.new_tablespaces.empty()) return;
  std::string places;
  for (const auto& place : plan.new_tablespaces) {
    places += (places.empty() ? "" : ", ") + printable(place);
    std::error_code error;
    const fs::directory_iterator inside(place, error);
    if (error || inside == fs::directory_iterator()) continue;
    throw repo::RefusedForSafety(
        "WAL on the way to that moment creates a tablespace at " +
        printable(place) +
        ", and something lies there on this machine. A server that replays it "
        "writes there, over the live server's tables if those they are. "
        "Recover on another machine, or take a base backup and recover to a "
        "moment after that");
  }
  context.confirm(
      "WAL on the way to that moment creates a tablespace at " + places +
      ". The server that recovers needs an empty folder there that is its "
      "user's, and writes into it: nothing of a live server may lie there when "
      "it starts. Go on?");
}

std::vector<std::string> fetch_words(const std::optional<std::string>& series,
                                     const Context& context) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return {error ? "cairn" : self.string(),
          "--repo",
          fs::absolute(context.repo_name()).string(),
          "pg",
          "wal-fetch",
          "--series",
          pg_series(series)};
}

// Each as text.
std::vector<std::string> read_sql(const std::vector<std::string>& given) {
  constexpr std::uintmax_t kMost = std::uintmax_t{1} << 20;
  std::vector<std::string> all;
  for (const auto& one : given) {
    std::error_code error;
    if (!fs::is_regular_file(one, error)) {
      all.push_back(one);
      continue;
    }
    if (fs::file_size(one) > kMost) {
      throw UsageError("--verify-sql: " + one + " is larger than 1 MiB");
    }
    std::ifstream in(one, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    if (!in) throw UsageError("--verify-sql: " + one + " cannot be read");
    all.push_back(text.str());
  }
  return all;
}

ingest::VerifyOptions verify_options(const RecoveryRequest& request,
                                     const RecoveryPlan& plan,
                                     const std::stop_token& stop) {
  const auto major = parse_count(major_of(plan.base->version), 1000);
  const char* const path = std::getenv("PATH");
  ingest::ServerPlaces places;
  places.bin_dir = request.bin_dir;
  places.path = path ? path : "";
  ingest::VerifyOptions options;
  options.programs =
      ingest::find_server_programs(places, static_cast<int>(major), stop);
  options.sql = read_sql(request.sql);
  options.database = request.database.value_or(options.database);
  return options;
}

struct Outcome {
  ingest::RestoreReport base;
  std::optional<ingest::VerifyReport> verified;
  ingest::RecoveryWalFiles wal;
  double seconds = 0;
  std::vector<std::string> notes;
  std::vector<std::string> warnings;
};

std::string when_of(const RecoveryPlan& plan) {
  std::string text =
      to_string(plan.stop) + " of timeline " + std::to_string(plan.timeline);
  if (plan.last_commit) {
    text += ", the last commit there at " + to_string(*plan.last_commit);
  }
  return text;
}

void set_plan(Json& json, const RecoveryPlan& plan) {
  json.set("base_id", plan.base->snapshot->snapshot.id.hex())
      .set("system_identifier", std::to_string(plan.base->system))
      .set("server_version", plan.base->version)
      .set("target", to_string(plan.target))
      .set("timeline", plan.timeline)
      .set("stop_lsn", to_string(plan.stop));
  if (plan.last_commit) {
    json.set("last_commit", to_timestamp(*plan.last_commit));
  } else {
    json.set("last_commit", nullptr);
  }
}

ExitCode dry_run(const RecoveryPlan& plan, const std::string& to,
                 Context& context) {
  const auto wal = count_recovery_wal(plan);
  if (context.output.is_json()) {
    Json json = Json::line("dry_run", context.now());
    json.set("action", "restore").set_bytes("target_folder", to);
    set_plan(json, plan);
    json.set("wal_segments", wal.segments).set("wal_bytes", wal.bytes);
    context.output.json(json);
  } else {
    context.output.note("would restore base " +
                        plan.base->snapshot->snapshot.id.brief() + " to " + to +
                        ", with " + counted(wal.segments, "segment") +
                        " of WAL, to be recovered to " + when_of(plan));
  }
  return ExitCode::ok;
}

// Base, WAL, settings; each step leaves a folder from which no server starts
// and takes half of it for the whole.
Outcome restore_all(ingest::RecoveryWal& wal, repo::Repository& repository,
                    const RecoveryPlan& plan, const RecoveryRequest& request,
                    const std::string& restore_command, const std::string& to,
                    const std::stop_token& stop, Context& context) {
  const auto& header = plan.base->snapshot->snapshot.header;
  const auto began = std::chrono::steady_clock::now();
  Outcome outcome;
  {
    const ingest::RestoreOptions how{
        .target = to,
        .read_back =
            request.verify ? ingest::ReadBack::yes : ingest::ReadBack::no,
        .workers = std::clamp(std::thread::hardware_concurrency(), 1U, 8U),
        .bound = repo::TreeBound(header)};
    repo::Progress progress;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"restore", "file"}, progress);
    outcome.base =
        ingest::restore(repository, header.root, how, progress, stop);
  }
  if (outcome.base.failure_count == 0) {
    outcome.notes = ingest::finish_data_directory(to, plan.base->version);
    ingest::write_recovery_signal(to);
    if (request.delivery != WalDelivery::fetch) {
      repo::Progress progress;
      progress.bytes_total = count_recovery_wal(plan).bytes;
      const ProgressDisplay display(context.output, context.options.progress,
                                    {"wal", "segment"}, progress);
      outcome.wal = ingest::write_recovery_wal(wal, plan, to, progress, stop);
    }
    ingest::write_recovery_settings(plan, restore_command, to);
    outcome.warnings = ingest::settings_that_reach_out(to);
  }
  outcome.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
          .count();
  return outcome;
}

void print_text(const Outcome& outcome, const RecoveryPlan& plan,
                const RecoveryRequest& request, const std::string& to,
                Context& context) {
  auto& output = context.output;
  print_summary(outcome.base, plan.base->snapshot->snapshot, to,
                outcome.seconds, output);
  for (const auto& note : outcome.notes) output.note(note);
  for (const auto& warning : outcome.warnings) output.warning(warning);
  if (outcome.base.failure_count > 0) {
    output.warning("the base backup is not whole in " + to +
                   "; no server must be started there");
    return;
  }
  if (request.delivery == WalDelivery::fetch) {
    output.note(
        "the server fetches WAL from the repository by 'cairn pg wal-fetch': "
        "its environment needs CAIRN_KEY_FILE, or another way to the key, and "
        "its user must be able to read that and the repository");
  } else {
    output.note(counted(outcome.wal.segments, "segment") + " of WAL, " +
                size_text(outcome.wal.bytes) + ", in " +
                (fs::path(to) / ingest::kRecoveryWalFolder).string());
  }
  if (const auto& verified = outcome.verified) {
    for (const auto& note : verified->notes) {
      output.warning("not checked: " + note);
    }
    output.note("verified: recovered to " + when_of(plan) + " in " +
                duration_text(verified->recovery_seconds) + ", " +
                counted(verified->databases_checked, "database") +
                " passed pg_amcheck, " +
                counted(verified->statements, "given check") + " passed; " +
                to +
                " holds the cluster at that moment, promoted to timeline " +
                std::to_string(verified->timeline) +
                " and shut down, ready to be started");
    return;
  }
  output.note("a server of PostgreSQL " + major_of(plan.base->version) +
              " that is started there recovers to " + when_of(plan) +
              ", and is promoted then; until 'select pg_is_in_recovery()' says "
              "f it is under way");
}

Json json_of(const Outcome& outcome, const RecoveryPlan& plan,
             const RecoveryRequest& request, const std::string& to,
             Context& context) {
  Json json = summary_of(outcome.base, plan.base->snapshot->snapshot, to,
                         outcome.seconds, context.now());
  Json warnings = Json::array();
  for (const auto& warning : plan.warnings) warnings.add(warning);
  for (const auto& warning : outcome.warnings) warnings.add(warning);
  Json notes = Json::array();
  for (const auto& note : outcome.notes) notes.add(note);
  Json recovery = Json::object();
  set_plan(recovery, plan);
  recovery.set("wal", request.delivery == WalDelivery::fetch ? "fetch" : "copy")
      .set("wal_segments", outcome.wal.segments)
      .set("wal_bytes", outcome.wal.bytes)
      .set("warnings", std::move(warnings))
      .set("notes", std::move(notes));
  if (const auto& verified = outcome.verified) {
    Json unchecked = Json::array();
    for (const auto& note : verified->notes) unchecked.add(note);
    Json verification = Json::object();
    verification.set("recovery_seconds", verified->recovery_seconds)
        .set("timeline", verified->timeline)
        .set("replayed_lsn", to_string(verified->replayed))
        .set("databases_checked", verified->databases_checked)
        .set("checks_passed", verified->statements)
        .set("not_checked", std::move(unchecked));
    recovery.set("verified", std::move(verification));
  }
  json.set("recovery", std::move(recovery));
  return json;
}

}  // namespace

void RecoveryRequest::settle() {
  if (!is_immediate) return;
  RecoveryTarget immediate;
  immediate.kind = Kind::immediate;
  set_target(*this, immediate);
}

std::optional<std::string> RecoveryRequest::flag_without_target() const {
  if (names_timeline) return "--timeline";
  if (delivery) return "--wal";
  if (!sql.empty()) return "--verify-sql";
  if (database) return "--verify-db";
  return std::nullopt;
}

void declare_recovery(Flags& flags, RecoveryRequest& request) {
  flags.value(
      "--at", "TIME|latest",
      [&request](std::string_view text) {
        set_target(request, target_at(text));
      },
      "a PostgreSQL cluster at that moment, what committed then included; with "
      "a time zone");
  flags.value(
      "--target-lsn", "LSN",
      [&request](std::string_view text) {
        set_target(request, target_lsn(text));
      },
      "at that place in WAL");
  flags.value(
      "--target-xid", "XID",
      [&request](std::string_view text) {
        set_target(request, target_xid(text));
      },
      "after that transaction's end");
  flags.value(
      "--target-name", "NAME",
      [&request](std::string_view text) {
        set_target(request, target_name(text));
      },
      "at a restore point, made with pg_create_restore_point()");
  flags.flag("--immediate", request.is_immediate,
             "at the end of the newest base backup, with no WAL behind it");
  flags.value(
      "--timeline", "N|latest",
      [&request](std::string_view text) {
        request.names_timeline = true;
        request.timeline.reset();
        if (text == kLatest) return;
        request.timeline =
            static_cast<std::uint32_t>(parse_count(text, kMost32));
      },
      "which timeline to go to (default: latest)");
  flags.value(
      "--wal", "copy|fetch",
      [&request](std::string_view text) {
        if (text != "copy" && text != "fetch") {
          throw UsageError("'" + std::string(text) +
                           "' is neither copy nor fetch");
        }
        request.delivery =
            text == "copy" ? WalDelivery::copy : WalDelivery::fetch;
      },
      "WAL into DIR/cairn_wal, or fetched by the server with 'cairn pg "
      "wal-fetch' (default: copy)");
  flags.values("--verify-sql", "SQL|FILE", request.sql,
               "with --verify: a query that must answer a row, and not false; "
               "may be repeated");
  flags.value("--verify-db", "NAME", request.database,
              "the database to ask that (default: postgres)");
}

ExitCode restore_to_moment(const RecoveryRequest& request,
                           const std::optional<std::string>& series,
                           const std::string& to, Context& context) {
  const auto& target = *request.target;
  const bool is_fetched = request.delivery == WalDelivery::fetch;
  if (!request.verify && (!request.sql.empty() || request.database)) {
    throw UsageError("--verify-sql and --verify-db go with --verify");
  }
  if (is_fetched && request.verify) {
    throw UsageError(
        "--verify recovers from DIR/cairn_wal; leave --wal fetch "
        "out");
  }
  ingest::require_target(to, ingest::Overwrite::refuse);
  auto repository = context.open_to_read();
  if (target.kind == Kind::end) context.require_that_latest_is();
  const std::string bases = pg_series(series);
  const auto& keyring = repository.keyring();
  const auto list = repository.snapshots(context.now());
  for (const auto& damage : list.damage) context.output.warning(damage);
  const auto clusters =
      ingest::find_clusters(list.snapshots, repo::series_tag(keyring, bases),
                            repo::series_tag(keyring, pg_wal_series(series)));
  if (clusters.empty()) {
    (void)series_of(bases, keyring, list, context.output);
    throw repo::NotFound("series " + bases +
                         " holds neither a base backup nor WAL of PostgreSQL");
  }
  const Interrupt interrupt;
  ingest::RecoveryWal wal(repository, choose_cluster(clusters, target));
  const auto plan =
      plan_recovery(wal, target, request.timeline, interrupt.token());
  for (const auto& warning : plan.warnings) context.output.warning(warning);
  if (context.options.is_dry_run) return dry_run(plan, to, context);
  require_safe_tablespaces(plan, context);
  std::optional<ingest::VerifyOptions> verify;
  if (request.verify || request.use) {
    verify = verify_options(request, plan, interrupt.token());
  }
  const auto restore_command =
      is_fetched
          ? ingest::fetching_restore_command(fetch_words(series, context))
          : ingest::copying_restore_command();

  auto outcome = restore_all(wal, repository, plan, request, restore_command,
                             to, interrupt.token(), context);
  if (request.use && outcome.base.failure_count == 0) {
    const TemporaryFolder place;
    verify->scratch = place.path();
    ingest::use_recovered(
        plan, to, *verify,
        [&](const ingest::RecoveredServer& server) {
          request.use(server, interrupt.token());
        },
        interrupt.token());
    return list.damage.empty() ? ExitCode::ok : ExitCode::damage;
  }
  if (verify && outcome.base.failure_count == 0) {
    const TemporaryFolder scratch;
    verify->scratch = scratch.path();
    outcome.verified = ingest::verify_recovery(
        plan, to, *verify,
        [&context](std::string_view phase) { context.output.detail(phase); },
        interrupt.token());
  }
  if (context.output.is_json()) {
    context.output.json(json_of(outcome, plan, request, to, context));
  } else {
    print_text(outcome, plan, request, to, context);
  }
  return list.damage.empty() ? exit_code_of(outcome.base) : ExitCode::damage;
}

}  // namespace cairn::cli
