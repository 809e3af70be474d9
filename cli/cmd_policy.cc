#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "cli/commands.h"
#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/forget_run.h"
#include "cli/json.h"
#include "cli/nearest.h"
#include "cli/policy_future.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/snapshot_selector.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

constexpr std::chrono::seconds kADay{86'400};
constexpr std::chrono::seconds kAnHour{3'600};

std::chrono::seconds rhythm_from(std::string_view text) {
  const auto every = parse_duration(text);
  if (every.count() < 1) throw UsageError("no time at all between runs");
  return every;
}

Json json_of(const std::vector<std::string>& reasons) {
  Json list = Json::array();
  for (const auto& reason : reasons) list.add(reason);
  return list;
}

// "1d", "6h", "90m", "45s": the largest unit that goes into it.
std::string rhythm_text(std::chrono::seconds every) {
  const auto count = every.count();
  if (count % kADay.count() == 0) {
    return std::to_string(count / kADay.count()) + "d";
  }
  if (count % kAnHour.count() == 0) {
    return std::to_string(count / kAnHour.count()) + "h";
  }
  constexpr std::int64_t kMinute = 60;
  if (count % kMinute == 0) return std::to_string(count / kMinute) + "m";
  return std::to_string(count) + "s";
}

// ---- explain

struct ExplainOptions {
  std::string snapshot;
  std::optional<std::chrono::seconds> every;
};

// The job that saves to the series, or to a part of it.
const config::Job* job_of_series(const config::Configuration& all,
                                 const repo::Snapshot& snapshot,
                                 const repo::Keyring& keyring) {
  for (const auto& job : all.jobs) {
    if (Series(job.series, keyring).holds(snapshot)) return &job;
  }
  if (!snapshot.record) return nullptr;
  const auto job = std::ranges::find_if(all.jobs, [&](const config::Job& one) {
    return snapshot.record->series.starts_with(one.series + "/");
  });
  return job == all.jobs.end() ? nullptr : &*job;
}

// When a job runs, as far as it can be told, and in words.
struct Rhythm {
  NextRun next;
  std::string text;  // "every 1d"; "by its schedule, 0 2 * * *"
  std::chrono::seconds every;
  bool is_schedule = false;
};

Rhythm steady(std::chrono::seconds every) {
  return {.next = steadily(every),
          .text = "every " + rhythm_text(every),
          .every = every};
}

Rhythm scheduled(const config::Schedule& schedule, const repo::Timestamp& now) {
  const auto next = by(schedule.timetable);
  const auto first = next(now);
  return {.next = next,
          .text = "by its schedule, " + schedule.timetable.text(),
          .every = std::chrono::seconds(next(first).seconds - first.seconds),
          .is_schedule = true};
}

void print_fate(const Fate& fate, const repo::Candidate& candidate,
                const Rhythm& rhythm, Context& context) {
  Table table({{"From"}, {"Kept as"}});
  for (const auto& [from, reasons] : fate.phases) {
    table.add({&reasons == &fate.phases.front().reasons ? "now"
                                                        : local_time_text(from),
               joined(reasons)});
  }
  if (fate.until) {
    table.add({fate.phases.empty() ? "next run" : local_time_text(*fate.until),
               "nothing: forgotten"});
  }
  table.print(context.output);
  if (!fate.until) {
    context.output.line(candidate.is_held
                            ? "It stays while it is held."
                            : "It stays beyond " + local_time_text(fate.seen) +
                                  ", as far as was looked.");
  }
  context.output.note("as if a run came " + rhythm.text +
                      ", each followed by forgetting");
}

ExitCode explain(const ExplainOptions& options, Context& context) {
  const auto& all = context.need_configuration();
  auto repository = context.open_to_read();
  SnapshotSelector selector(context, repository);
  const auto selected = selector.select(options.snapshot);
  if (!selected.path.empty()) {
    throw UsageError("policy explain: '" + options.snapshot +
                     "': policies keep whole snapshots");
  }
  const auto& snapshot = selected.snapshot.snapshot;
  const std::string series = series_text(snapshot);
  const auto* const job = job_of_series(all, snapshot, repository.keyring());
  const bool is_judged = job != nullptr && job->policy && !is_of_wal(snapshot);
  if (!is_judged) {
    const std::string why =
        is_of_wal(snapshot) ? "WAL, which rules pass over"
        : job == nullptr
            ? "no job of " + all.file + " saves to its series, " + series
            : "job '" + job->name + "' has no policy";
    if (context.output.is_json()) {
      Json json = Json::object();
      json.set("id", snapshot.id.hex()).set("series", series);
      json.set("policy", nullptr).set("keep", true).set("until", nullptr);
      json.set("reasons", json_of({why}));
      context.output.document(json);
    } else {
      context.output.line("snapshot " + snapshot.id.brief() +
                          " stays: " + printable(why));
    }
    return ExitCode::ok;
  }
  const auto& policy = *all.policy(*job->policy);

  std::vector<repo::Candidate> candidates;
  std::size_t which = 0;
  for (const auto* const valid : selector.all()) {
    if (valid->snapshot.header.series_tag != snapshot.header.series_tag) {
      continue;
    }
    if (valid->snapshot.id == snapshot.id) which = candidates.size();
    candidates.push_back(candidate_of(*valid));
  }
  constexpr std::chrono::hours kTenYears{24 * 3653};
  const auto now = context.now();
  const auto rhythm = options.every ? steady(*options.every)
                      : job->schedule
                          ? scheduled(*job->schedule, now)
                          : steady(rhythm_of(candidates).value_or(kADay));
  const auto fate =
      fate_of(candidates, which, policy.rules, now, rhythm.next,
              {now.seconds + std::chrono::seconds(kTenYears).count(), 0});
  if (context.output.is_json()) {
    Json phases = Json::array();
    for (const auto& [from, reasons] : fate.phases) {
      Json json = Json::object();
      json.set("from", from).set("reasons", json_of(reasons));
      phases.add(std::move(json));
    }
    Json json = Json::object();
    json.set("id", snapshot.id.hex())
        .set("series", series)
        .set("policy", policy.name)
        .set("keep", !fate.phases.empty())
        .set("reasons",
             json_of(fate.phases.empty() ? std::vector<std::string>()
                                         : fate.phases.front().reasons))
        .set("phases", std::move(phases))
        .set("every_seconds", rhythm.every.count());
    rhythm.is_schedule ? json.set("schedule", job->schedule->timetable.text())
                       : json.set("schedule", nullptr);
    fate.until ? json.set("until", *fate.until) : json.set("until", nullptr);
    context.output.document(json);
    return ExitCode::ok;
  }
  context.output.line(
      "snapshot " + snapshot.id.brief() + " of " + printable(series) + ", " +
      local_time_text(snapshot.header.time) + ", policy " + policy.name);
  print_fate(fate, candidates[which], rhythm, context);
  return ExitCode::ok;
}

// ---- simulate

struct SimulateOptions {
  std::vector<std::string> jobs;
  std::string span = "1y";
  std::optional<std::chrono::seconds> every;
  std::optional<repo::Timestamp> from;
};

const config::Job& job_to_simulate(const SimulateOptions& options,
                                   const config::Configuration& all) {
  std::vector<std::string> names;
  for (const auto& job : all.jobs) names.push_back(job.name);
  if (options.jobs.size() > 1) {
    throw UsageError("policy simulate: one job at a time");
  }
  if (options.jobs.empty() && all.jobs.size() != 1) {
    throw UsageError("policy simulate: which job? There are " + joined(names));
  }
  const auto& name =
      options.jobs.empty() ? names.front() : options.jobs.front();
  if (const auto* const job = all.job(name)) return *job;
  const auto near = nearest(name, names);
  throw UsageError("policy simulate: there is no job '" + name + "'" +
                   (near ? "; did you mean '" + *near + "'?" : ""));
}

ExitCode simulate_policy(const SimulateOptions& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto& job = job_to_simulate(options, all);
  if (!job.policy) {
    throw UsageError("policy simulate: job '" + job.name +
                     "' has no policy: it forgets nothing");
  }
  const auto start = options.from.value_or(context.now());
  const auto rhythm = options.every  ? steady(*options.every)
                      : job.schedule ? scheduled(*job.schedule, start)
                                     : steady(kADay);
  const auto first =
      rhythm.is_schedule ? rhythm.next({start.seconds - 1, 0}) : start;
  const auto end = parse_until(options.span, start);
  if (!end || *end < start) {
    throw UsageError("'" + options.span + "' is not a span such as 90d or 1y");
  }
  if (count_runs(first, rhythm.next, *end) > kMostSimulatedRuns) {
    throw UsageError("policy simulate: more than " +
                     count_text(kMostSimulatedRuns) +
                     " runs; choose a shorter --for or a longer --every");
  }
  const auto simulation =
      simulate(all.policy(*job.policy)->rules, first, rhythm.next, *end);
  if (context.output.is_json()) {
    Json list = Json::array();
    for (const auto& [time, reasons] : simulation.left) {
      Json json = Json::object();
      json.set("time", time).set("reasons", json_of(reasons));
      list.add(std::move(json));
    }
    context.output.document(list);
    return ExitCode::ok;
  }
  Table table({{"Time"}, {"Kept as"}});
  for (const auto& [time, reasons] : simulation.left) {
    table.add({local_time_text(time), joined(reasons)});
  }
  table.print(context.output);
  context.output.note("of " + counted(simulation.runs, "run") + " " +
                      rhythm.text + " by policy " + *job.policy + ", " +
                      counted(simulation.left.size(), "snapshot") +
                      " would be there, at most " +
                      count_text(simulation.most) + " at a time");
  return ExitCode::ok;
}

}  // namespace

Command policy_explain_command() {
  const auto options = std::make_shared<ExplainOptions>();
  return {
      .name = "policy explain",
      .group = CommandGroup::space,
      .summary = "say why a snapshot stays, and until when",
      .text =
          "Says by which rules of its job's policy a snapshot is kept now, "
          "which ones keep it later, and when none does any more: as if the "
          "job went on by its schedule; where it has none, at the rhythm that "
          "its series has lately had (once a day where that cannot be told); "
          "or at that of --every.",
      .examples =
          "cairn policy explain latest~3\n"
          "cairn policy explain 4fe6dbea --every 1h",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP", options->snapshot);
            flags.value(
                "--every", "SPAN",
                [options](std::string_view text) {
                  options->every = rhythm_from(text);
                },
                "how often the job will run");
          },
      .run = [options](Context& context) { return explain(*options, context); },
  };
}

Command policy_simulate_command() {
  const auto options = std::make_shared<SimulateOptions>();
  return {
      .name = "policy simulate",
      .group = CommandGroup::space,
      .summary = "show what a policy will have kept by then",
      .text =
          "Runs a job again and again on paper, forgets by its policy after "
          "each run, and lists what is there at the end, and why. Begins with "
          "nothing and needs no repository: to see what a policy would do to "
          "the snapshots there are, 'cairn forget --dry-run'.",
      .examples =
          "cairn policy simulate --for 1y\n"
          "cairn policy simulate hourly --for 90d --every 1h\n"
          "cairn policy simulate --from 2026-01-01T02:00:00Z --json",
      .declare =
          [options](Flags& flags) {
            flags.arguments("JOB", options->jobs, Flags::Count::any);
            flags.value(
                "--for", "SPAN",
                [options](std::string_view text) { options->span = text; },
                "how long (default: 1y)");
            flags.value(
                "--every", "SPAN",
                [options](std::string_view text) {
                  options->every = rhythm_from(text);
                },
                "how often the job runs (default: its schedule, else 1d)");
            flags.value(
                "--from", "RFC3339",
                [options](std::string_view text) {
                  options->from = parse_time(text, Zone::required);
                  if (!options->from) {
                    throw UsageError("'" + std::string(text) +
                                     "' is not a time such as "
                                     "2026-11-20T14:30:00Z");
                  }
                },
                "when the first run is (default: now)");
          },
      .run =
          [options](Context& context) {
            return simulate_policy(*options, context);
          },
  };
}

}  // namespace cairn::cli
