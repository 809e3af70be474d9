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

RecoveryPlan plan_and_show(ingest::RecoveryWal& wal,
                           const RecoveryRequest& request,
                           const std::stop_token& stop, Context& context) {
  repo::Progress progress;
  const ProgressDisplay display(context.output, context.options.progress,
                                {"reading wal", "record"}, progress);
  return plan_recovery(wal, *request.target, request.timeline, progress, stop);
}

// Nothing lies there, or an empty folder. What cannot be looked into is not
// known to be one: the live server's may be its user's alone.
bool is_free(const fs::path& place) {
  std::error_code error;
  const auto type = fs::symlink_status(place, error).type();
  if (type == fs::file_type::not_found) return true;
  const fs::directory_iterator inside(place, error);
  return !error && inside == fs::directory_iterator();
}

// A server that replays the creation of a tablespace writes where the live one
// has it.
void require_safe_tablespaces(const RecoveryPlan& plan, Context& context) {
  if (plan.new_tablespaces.empty()) return;
  std::string places;
  for (const auto& place : plan.new_tablespaces) {
    places += (places.empty() ? "" : ", ") + printable(place);
    if (is_free(place)) continue;
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
                                     Context& context) {
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
  if (request.verify) return;  // which is next
  output.note("a server of PostgreSQL " + major_of(plan.base->version) +
              " that is started there recovers to " + when_of(plan) +
              ", and is promoted then; until 'select pg_is_in_recovery()' says "
              "f it is under way");
}

void print_verified(const ingest::VerifyReport& verified,
                    const RecoveryPlan& plan, const std::string& to,
                    Output& output) {
  for (const auto& note : verified.notes) {
    output.warning("not checked: " + note);
  }
  output.note("verified: recovered to " + when_of(plan) + " in " +
              duration_text(verified.recovery_seconds) + ", " +
              counted(verified.databases_checked, "database") +
              " passed pg_amcheck, " +
              counted(verified.statements, "given check") + " passed; " + to +
              " holds the cluster at that moment, promoted to timeline " +
              std::to_string(verified.timeline) +
              " and shut down, ready to be started");
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

ingest::VerifyReport verify_and_tell(const RecoveryPlan& plan,
                                     const std::string& to,
                                     ingest::VerifyOptions options,
                                     const std::stop_token& stop,
                                     Context& context) {
  const TemporaryFolder scratch;
  options.scratch = scratch.path();
  try {
    return ingest::verify_recovery(
        plan, to, options,
        [&context](std::string_view phase) { context.output.detail(phase); },
        stop);
  } catch (const ingest::VerificationFailed& e) {
    throw ingest::VerificationFailed(std::string(e.what()) + "; " + to +
                                     " stays as it is then, to be looked at");
  }
}

}  // namespace

ExitCode restore_to_moment(const RecoveryRequest& request,
                           const std::optional<std::string>& series,
                           const std::string& to, Context& context,
                           const UseRecovered& use) {
  const auto& target = *request.target;
  const bool is_fetched = request.delivery == WalDelivery::fetch;
  const bool runs_server = request.verify || use;
  if ((!request.verify && (!request.sql.empty() || request.database)) ||
      (!runs_server && request.bin_dir)) {
    throw UsageError(
        "--verify-sql, --verify-db and --bin-dir go with --verify");
  }
  if (is_fetched && request.verify) {
    throw UsageError(
        "--verify recovers from DIR/cairn_wal; leave --wal fetch "
        "out");
  }
  ingest::require_target(to, ingest::Overwrite::refuse);
  auto repository = context.open_to_read();
  if (target.kind == Kind::end) context.require_that_latest_is();
  const auto list = repository.snapshots(context.now());
  const auto clusters = clusters_in(list, pg_series(series),
                                    repository.keyring(), context.output);
  const Interrupt interrupt;
  ingest::RecoveryWal wal(repository, choose_cluster(clusters, target));
  const auto plan = plan_and_show(wal, request, interrupt.token(), context);
  for (const auto& warning : plan.warnings) context.output.warning(warning);
  if (!plan.base->snapshot->snapshot.header.is_complete) {
    context.output.warning(
        "base " + plan.base->snapshot->snapshot.id.brief() +
        " is incomplete: its server reported damaged pages when it was taken");
  }
  if (context.options.is_dry_run) return dry_run(plan, to, context);
  require_safe_tablespaces(plan, context);
  std::optional<ingest::VerifyOptions> verify;
  if (runs_server) {
    verify = verify_options(request, plan, interrupt.token());
  }
  const auto restore_command =
      is_fetched
          ? ingest::fetching_restore_command(fetch_words(series, context))
          : ingest::copying_restore_command();

  auto outcome = restore_all(wal, repository, plan, request, restore_command,
                             to, interrupt.token(), context);
  if (use && outcome.base.failure_count == 0) {
    const TemporaryFolder place;
    verify->scratch = place.path();
    ingest::use_recovered(
        plan, to, *verify,
        [&](const ingest::RecoveredServer& server) {
          use(server, interrupt.token());
        },
        interrupt.token());
    return list.damage.empty() ? ExitCode::ok : ExitCode::damage;
  }
  const bool is_json = context.output.is_json();
  if (!is_json) print_text(outcome, plan, request, to, context);
  if (verify && outcome.base.failure_count == 0) {
    outcome.verified =
        verify_and_tell(plan, to, *verify, interrupt.token(), context);
    if (!is_json) print_verified(*outcome.verified, plan, to, context.output);
  }
  if (is_json) {
    context.output.json(json_of(outcome, plan, request, to, context));
  }
  return list.damage.empty() ? exit_code_of(outcome.base) : ExitCode::damage;
}

}  // namespace cairn::cli
