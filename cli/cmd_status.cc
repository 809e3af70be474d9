#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/failure.h"
#include "cli/json.h"
#include "cli/nearest.h"
#include "cli/printable.h"
#include "cli/prometheus_text.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/status_report.h"
#include "cli/time_text.h"
#include "cli/unused_sources.h"
#include "cli/usage_error.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

struct Options {
  std::vector<std::string> jobs;
  bool check = false;
  std::optional<std::string> prometheus;
};

std::vector<const config::Job*> jobs_of(const Options& options,
                                        const config::Configuration& all) {
  std::vector<const config::Job*> jobs;
  for (const auto& name : options.jobs) {
    const auto* const job = all.job(name);
    if (job == nullptr) {
      std::vector<std::string> known;
      for (const auto& one : all.jobs) known.push_back(one.name);
      const auto near = nearest(name, known);
      throw UsageError("status: " + all.file + " has no job '" + name + "'" +
                       (near ? "; did you mean '" + *near + "'?" : ""));
    }
    if (std::ranges::find(jobs, job) == jobs.end()) jobs.push_back(job);
  }
  if (!jobs.empty()) return jobs;
  for (const auto& job : all.jobs) jobs.push_back(&job);
  return jobs;
}

struct Gathered {
  StatusReport report;
  ExitCode code = ExitCode::ok;  // what keeps the report from being whole
};

// One that was there when a run saved to it is out of reach, not absent.
ExitCode code_of(const config::Job& job, const std::string& place) {
  const service::RunLog log(host_folders().state, place, job.series);
  try {
    const auto runs = log.read();
    const bool was_there = std::ranges::any_of(
        runs,
        [](const service::JobRun& run) { return run.snapshot.has_value(); });
    return was_there ? ExitCode::unreachable : ExitCode::no_repository;
  } catch (const repo::IoError&) {  // the report tells of it
    return ExitCode::no_repository;
  }
}

void look_at(const config::Repository& repository,
             const std::vector<const config::Job*>& jobs,
             const config::Configuration& all, Context& context,
             Gathered& gathered) {
  context.use_repository(repository);
  MetRepository met{.configured = &repository, .place = context.repo_name()};
  auto report = gathered.report;
  std::optional<repo::Repository> opened;
  try {
    opened.emplace(context.open_to_read());
    met.opened = &*opened;
    report_on(met, all, jobs, context, report);
    gathered.report = std::move(report);
    return;
  } catch (const repo::Cancelled&) {
    throw;
  } catch (const repo::StorageUnreachable& e) {
    met.unreachable = e.what();
    gathered.code = worse(gathered.code, ExitCode::unreachable);
  } catch (const repo::NoRepository& e) {
    met.unreachable = e.what();
    gathered.code = worse(gathered.code, code_of(*jobs.front(), met.place));
  } catch (const repo::Error& e) {  // a wrong key, damage, a lock
    const auto failure = failure_of(e, context.repo_in_use());
    met.unreachable = failure.message;
    met.cannot = "be opened";
    gathered.code = worse(gathered.code, failure.code);
  }
  met.opened = nullptr;  // then the log alone speaks
  report_on(met, all, jobs, context, gathered.report);
}

Gathered gather(const Options& options, const config::Configuration& all,
                Context& context) {
  Gathered gathered;
  gathered.report.now = moment_of(context.now());
  const auto wanted = jobs_of(options, all);
  if (options.jobs.empty()) {
    gathered.report.notices = notices_of_unused_sources(all);
  }
  if (context.repo_given()) {
    look_at(*all.repository(wanted.front()->repository), wanted, all, context,
            gathered);
    return gathered;
  }
  for (const auto& repository : all.repositories) {
    std::vector<const config::Job*> jobs;
    for (const auto* const job : wanted) {
      if (job->repository == repository.name) jobs.push_back(job);
    }
    if (!jobs.empty()) look_at(repository, jobs, all, context, gathered);
  }
  return gathered;
}

// ---- for people

std::string age_text(const std::optional<Moment>& moment, Moment now,
                     std::string_view otherwise) {
  return moment ? relative_time_text(timestamp_of(*moment), timestamp_of(now))
                : std::string(otherwise);
}

std::string state_of(const SourceStatus& source) {
  if (source.good.empty()) return "NEVER";
  if (source.is_overdue) return "OVERDUE";
  return source.failure ? "FAILING" : "ok";
}

void print_sources(const StatusReport& report, Context& context) {
  using enum Table::Align;
  Table table({{"Source"},
               {"Job"},
               {""},
               {"Last good"},
               {"Due"},
               {"Size", right},
               {"Usual", right},
               {"Lost now"},
               {"Verified"}});
  for (const auto& source : report.sources) {
    const auto last = source.last();
    table.add(
        {source.source, source.job, state_of(source),
         last ? age_text(last->when, report.now, "") : "never",
         source.interval ? interval_text(*source.interval) : "",
         last ? size_text(last->bytes) : "",
         source.usual_bytes ? size_text(*source.usual_bytes) : "",
         last ? "since " + age_text(source.lost_since, report.now, "") : "all",
         age_text(source.verified, report.now, "")});
  }
  table.print(context.output);
}

void print_wal(const StatusReport& report, Context& context) {
  for (const auto& wal : report.wal) {
    std::string text = "WAL of " + printable(wal.series) + ": stored " +
                       age_text(wal.stored_at, report.now, "never");
    if (wal.waiting_bytes > 0) {
      text += ", " + size_text(wal.waiting_bytes) + " wait on this host";
    }
    if (wal.has_receiver) text += ", a receiver is at work";
    context.output.line(text);
  }
}

void print_repositories(const StatusReport& report, Context& context) {
  for (const auto& repository : report.repositories) {
    std::string text = "repository " + repository.name + ": ";
    if (repository.unreachable) {
      context.output.line(text + "cannot be looked at");
      continue;
    }
    constexpr double kWhole = 100;
    text += counted(repository.snapshots, "snapshot");
    if (repository.used) {
      text += ", disk " +
              std::to_string(static_cast<int>(*repository.used * kWhole)) +
              " % full (" + size_text(repository.free_bytes) + " free)";
    }
    if (const auto& coverage = repository.coverage) {
      text += "; " + counted(coverage->packs, "pack");
      if (coverage->packs > 0) {
        text += coverage->never == coverage->packs
                    ? ", none read again yet"
                    : ", the oldest reading " +
                          age_text(coverage->oldest, report.now, "none");
        if (coverage->never > 0 && coverage->never < coverage->packs) {
          text += ", " + count_text(coverage->never) + " never read again";
        }
      }
    }
    context.output.line(text);
  }
}

void print_text(const StatusReport& report, Context& context) {
  const auto wrong = report.what_is_wrong();
  context.output.line(wrong.empty() ? Colour::green : Colour::red,
                      report.sentence());
  // The sentence has the first.
  for (std::size_t i = 1; i < wrong.size(); ++i) {
    context.output.line(Colour::red, wrong[i]);
  }
  for (const auto& notice : report.notices) context.output.warning(notice);
  if (context.output.is_quiet()) return;
  print_sources(report, context);
  print_wal(report, context);
  print_repositories(report, context);
}

// ---- for programs

void set_moment(Json& json, std::string_view key,
                const std::optional<Moment>& moment) {
  moment ? json.set(key, timestamp_of(*moment)) : json.set(key, nullptr);
}

void set_length(Json& json, std::string_view key,
                const std::optional<std::chrono::seconds>& length) {
  length ? json.set(key, length->count()) : json.set(key, nullptr);
}

template <typename Value>
void set_maybe(Json& json, std::string_view key,
               const std::optional<Value>& value) {
  value ? json.set(key, *value) : json.set(key, nullptr);
}

Json json_of(const SourceStatus& source, Moment now) {
  const auto last = source.last();
  Json databases = Json::array();
  for (const auto& database : source.databases) {
    Json json = Json::object();
    json.set("name", database.name);
    set_moment(
        json, "last_good",
        database.last ? std::optional(database.last->when) : std::nullopt);
    set_maybe(
        json, "bytes",
        database.last ? std::optional(database.last->bytes) : std::nullopt);
    set_maybe(json, "seconds", database.seconds);
    databases.add(std::move(json));
  }
  Json json = Json::object();
  json.set("source", source.source)
      .set("job", source.job)
      .set("safe", source.is_safe())
      .set("overdue", source.is_overdue);
  set_maybe(json, "failure", source.failure);
  set_moment(json, "last_good",
             last ? std::optional(last->when) : std::nullopt);
  set_length(json, "age_seconds",
             last ? std::optional(service::age_of(last->when, now).length)
                  : std::nullopt);
  set_length(json, "interval_seconds", source.interval);
  json.set("has_schedule", source.has_schedule);
  set_maybe(json, "bytes", last ? std::optional(last->bytes) : std::nullopt);
  set_maybe(json, "usual_bytes", source.usual_bytes);
  set_moment(json, "lost_since", source.lost_since);
  set_moment(json, "verified", source.verified);
  set_maybe(json, "seconds", source.seconds);
  json.set("databases", std::move(databases));
  return json;
}

Json json_of(const WalStatus& wal) {
  Json json = Json::object();
  json.set("repository", wal.repository)
      .set("series", wal.series)
      .set("system_identifier", std::to_string(wal.system))
      .set("late", wal.is_late)
      .set("waiting_bytes", wal.waiting_bytes)
      .set("receiver", wal.has_receiver);
  set_moment(json, "stored_at", wal.stored_at);
  set_length(json, "lag_seconds", wal.lag);
  return json;
}

Json json_of(const JobStatus& job) {
  Json json = Json::object();
  json.set("job", job.job);
  set_moment(json, "last_success", job.last_success);
  set_moment(json, "unfinished_since", job.unfinished);
  json.set("damaged_lines", job.damaged_lines);
  if (!job.last_run) {
    json.set("last_run", nullptr);
    return json;
  }
  const auto& run = *job.last_run;
  Json last = Json::object();
  last.set("began", timestamp_of(run.began))
      .set("ended", timestamp_of(run.ended))
      .set("outcome", name_of(run.outcome))
      .set("exit_code", run.exit_code)
      .set("message", run.message);
  set_maybe(last, "snapshot_id", run.snapshot);
  set_maybe(last, "verified", run.verified);
  json.set("last_run", std::move(last));
  return json;
}

Json json_of(const RepositoryStatus& repository) {
  Json json = Json::object();
  json.set("name", repository.name).set_bytes("place", repository.place);
  json.set("reachable", !repository.unreachable);
  set_maybe(json, "unreachable", repository.unreachable);
  set_maybe(json, "disk_used", repository.used);
  json.set("disk_free_bytes", repository.free_bytes)
      .set("snapshots", repository.snapshots);
  set_moment(json, "damage_found", repository.damage_found);
  if (const auto& coverage = repository.coverage) {
    json.set("packs", coverage->packs)
        .set("packs_never_verified", coverage->never)
        .set("packs_late", coverage->late)
        .set("packs_damaged", coverage->damaged);
    set_moment(json, "oldest_verification", coverage->oldest);
  }
  return json;
}

Json json_of(const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (const auto& text : texts) list.add(text);
  return list;
}

void print_json(const StatusReport& report, Context& context) {
  Json sources = Json::array();
  for (const auto& one : report.sources) sources.add(json_of(one, report.now));
  Json wal = Json::array();
  for (const auto& one : report.wal) wal.add(json_of(one));
  Json jobs = Json::array();
  for (const auto& one : report.jobs) jobs.add(json_of(one));
  Json repositories = Json::array();
  for (const auto& one : report.repositories) repositories.add(json_of(one));
  Json json = Json::line("status", timestamp_of(report.now));
  json.set("safe", report.is_safe())
      .set("summary", report.sentence())
      .set("problems", json_of(report.what_is_wrong()))
      .set("notices", json_of(report.notices))
      .set("sources", std::move(sources))
      .set("wal", std::move(wal))
      .set("jobs", std::move(jobs))
      .set("repositories", std::move(repositories));
  context.output.document(json);
}

ExitCode run(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto [report, code] = gather(options, all, context);
  if (context.output.is_json()) {
    print_json(report, context);
  } else {
    print_text(report, context);
  }
  if (options.prometheus) write_prometheus_file(*options.prometheus, report);
  if (code != ExitCode::ok) return code;
  return options.check && !report.is_safe() ? ExitCode::overdue : ExitCode::ok;
}

}  // namespace

Command status_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "status",
      .group = CommandGroup::look,
      .summary = "whether what should be saved is saved",
      .text =
          "Says in a sentence whether everything is safe, and for each source "
          "of the jobs of the configuration file, or of those named, when it "
          "was last saved whole, how often it is due, how large it is and "
          "usually is, since when what was written would be lost now, and when "
          "what it left in the repository was read again and found sound. "
          "Beside that, WAL that is not stored yet, the disk of the "
          "repository, and damage that a run found. Snapshots in the "
          "repository tell what is saved, the log of this machine's runs what "
          "failed; `thresholds` of the file say what is a problem. With "
          "--check it ends with 6 when there is any; where a repository cannot "
          "be reached, with 13. Without a schedule a source is due as often as "
          "it usually was saved. --prometheus writes the same as metrics.",
      .examples =
          "cairn status\n"
          "cairn status nightly --check || mail -s 'no backup' ops\n"
          "cairn status --prometheus /var/lib/prometheus/node-exporter/"
          "cairn.prom",
      .declare =
          [options](Flags& flags) {
            flags.arguments("JOB", options->jobs, Flags::Count::any);
            flags.flag("--check", options->check,
                       "end with 6 when something is overdue, failing, late, "
                       "damaged or full");
            flags.text("--prometheus", "FILE", options->prometheus,
                       "write metrics for node_exporter's textfile collector");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
