#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "cli/backup_report.h"
#include "cli/backup_run.h"
#include "cli/commands.h"
#include "cli/config/configuration.h"
#include "cli/config_file.h"
#include "cli/context.h"
#include "cli/forget_run.h"
#include "cli/hook.h"
#include "cli/interrupt.h"
#include "cli/job_lock.h"
#include "cli/job_sources.h"
#include "cli/json.h"
#include "cli/nearest.h"
#include "cli/past_content.h"
#include "cli/printable.h"
#include "cli/prune_run.h"
#include "cli/quantity.h"
#include "cli/run_aftermath.h"
#include "cli/run_verification.h"
#include "cli/snapshot_selector.h"
#include "cli/snapshot_text.h"
#include "cli/usage_error.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kNameTag = "name:";

struct Options {
  std::vector<std::string> words;  // a job, and sources
  std::optional<config::Part> only;
  std::string only_word;
  std::optional<std::string> name;
  std::vector<std::string> tags;
  std::chrono::seconds wait{0};
  std::optional<repo::CalendarSpan> keep_within;
};

// What one run is about.
struct Selected {
  const config::Job* job = nullptr;
  std::vector<const config::Source*> sources;
  std::string series;
};

config::Part part_of(std::string_view word) {
  if (word == "data") return config::Part::data;
  if (word == "config") return config::Part::config;
  if (word == "databases") return config::Part::databases;
  throw UsageError("'" + std::string(word) +
                   "' is none of data, config and databases");
}

[[noreturn]] void refuse_word(const std::string& word,
                              const config::Configuration& all) {
  std::vector<std::string> known;
  for (const auto& job : all.jobs) known.push_back(job.name);
  for (const auto& source : all.sources) known.push_back(source.name);
  const auto near = nearest(word, known);
  throw UsageError("run: " + all.file + " has no job and no source '" + word +
                   "'" + (near ? "; did you mean '" + *near + "'?" : ""));
}

bool has_all(const config::Job& job, const std::vector<std::string>& names) {
  return std::ranges::all_of(names, [&](const std::string& name) {
    return std::ranges::find(job.sources, name) != job.sources.end();
  });
}

// The job that was named; else the only one that has the sources.
const config::Job& job_of(const std::vector<std::string>& jobs,
                          const std::vector<std::string>& sources,
                          const config::Configuration& all) {
  if (jobs.size() > 1) {
    throw UsageError("run: one job at a time, not " + joined(jobs));
  }
  if (jobs.size() == 1) {
    const auto& job = *all.job(jobs.front());
    if (has_all(job, sources)) return job;
    throw UsageError("run: job '" + job.name + "' has the sources " +
                     joined(job.sources) + ", not all of " + joined(sources));
  }
  std::vector<std::string> possible;
  for (const auto& job : all.jobs) {
    if (has_all(job, sources)) possible.push_back(job.name);
  }
  if (possible.size() == 1) return *all.job(possible.front());
  if (possible.empty()) {
    throw UsageError("run: no job has all of " + joined(sources));
  }
  throw UsageError("run: which job? There are " + joined(possible));
}

Selected select(const Options& options, const config::Configuration& all) {
  std::vector<std::string> jobs;
  std::vector<std::string> names;
  for (const auto& word : options.words) {
    if (all.job(word) != nullptr) {
      jobs.push_back(word);
    } else if (all.source(word) != nullptr) {
      if (std::ranges::find(names, word) == names.end()) names.push_back(word);
    } else {
      refuse_word(word, all);
    }
  }
  Selected selected;
  selected.job = &job_of(jobs, names, all);
  std::string suffix;
  for (const auto& name : selected.job->sources) {
    const auto* const source = all.source(name);
    if (!names.empty() && std::ranges::find(names, name) == names.end()) {
      continue;
    }
    if (options.only && source->part != *options.only) continue;
    selected.sources.push_back(source);
    suffix += (suffix.empty() ? "" : "+") + name;
  }
  if (selected.sources.empty()) {
    throw UsageError("run: none of the sources of '" + selected.job->name +
                     "' is of the part " + options.only_word);
  }
  // A part of a job is a succession of its own: one that took the place of the
  // whole would have retention forget the rest.
  selected.series = selected.job->series;
  if (selected.sources.size() < selected.job->sources.size()) {
    const bool is_a_part = options.only && names.empty();
    selected.series += "/" + (is_a_part ? options.only_word : suffix);
  }
  return selected;
}

void require_sense(const Options& options) {
  if (options.name && options.name->empty()) {
    throw UsageError("run: --name: an empty name");
  }
}

// By which policy the job's old snapshots are forgotten; nothing: they stay.
std::optional<config::Policy> policy_of(const Options& options,
                                        const config::Job& job,
                                        const config::Configuration& all) {
  std::optional<config::Policy> policy;
  if (job.policy) policy = *all.policy(*job.policy);
  if (!options.keep_within) return policy;
  config::Policy made{.name = "--keep-within", .rules = {}};
  if (policy) made.prunes = policy->prunes;
  made.rules.within = *options.keep_within;
  require_time_zone(all);
  made.rules.time_zone = all.time_zone;
  return made;
}

ExitCode dry_run(const Selected& selected,
                 const std::optional<std::string>& policy, Context& context) {
  const Interrupt interrupt;
  JobSources sources(selected.sources, context);
  const auto outlooks = sources.outlook(interrupt.token());
  const auto failing =
      std::ranges::count(outlooks, true, &SourceOutlook::would_fail);
  const bool has_problem = std::ranges::any_of(
      outlooks,
      [](const SourceOutlook& outlook) { return outlook.problem.has_value(); });
  std::uint64_t bytes = 0;
  for (const auto& outlook : outlooks) bytes += outlook.bytes.value_or(0);
  if (context.output.is_json()) {
    Json list = Json::array();
    for (const auto& outlook : outlooks) {
      Json json = Json::object();
      json.set("name", outlook.name).set("what", outlook.what);
      outlook.bytes ? json.set("bytes", *outlook.bytes)
                    : json.set("bytes", nullptr);
      outlook.problem ? json.set("problem", *outlook.problem)
                      : json.set("problem", nullptr);
      list.add(std::move(json));
    }
    Json json = Json::line("dry_run", context.now());
    json.set("action", "run")
        .set("job", selected.job->name)
        .set("series", selected.series)
        .set_bytes("repository", context.repo_name())
        .set("bytes", bytes)
        .set("sources", std::move(list));
    policy ? json.set("retention", *policy) : json.set("retention", nullptr);
    context.output.json(json);
  } else {
    Table table({{"Source"}, {"Size", Table::Align::right}, {"Content"}});
    for (const auto& outlook : outlooks) {
      table.add({outlook.name, outlook.bytes ? size_text(*outlook.bytes) : "?",
                 outlook.what});
      if (outlook.problem) {
        context.output.warning(outlook.name + ": " + *outlook.problem);
      }
    }
    if (!context.output.is_quiet()) table.print(context.output);
    const bool is_all = std::ranges::all_of(
        outlooks,
        [](const SourceOutlook& one) { return one.bytes || one.would_fail; });
    context.output.note("would save " + size_text(bytes) +
                        (is_all ? "" : " and more") + " to " +
                        context.repo_name() + " as series " + selected.series +
                        (policy ? ", then forget by policy " + *policy
                                : ", and forget nothing"));
  }
  if (failing == std::ssize(outlooks)) return ExitCode::source_failed;
  return has_problem ? ExitCode::partial : ExitCode::ok;
}

// Names are for people to find one snapshot by. Throws NoRun.
void require_new_name(const Options& options, const Selected& selected,
                      repo::Repository& repository, Context& context) {
  const std::string tag = std::string(kNameTag) + *options.name;
  SnapshotSelector selector(context, repository);
  for (const auto* const valid : selector.all()) {
    const auto& record = valid->snapshot.record;
    if (!record || record->series != selected.series ||
        std::ranges::find(record->tags, tag) == record->tags.end()) {
      continue;
    }
    throw NoRun("snapshot " + valid->snapshot.id.brief() + " of " +
                selected.series + " has the name '" + *options.name +
                "' already");
  }
}

std::vector<std::string> tags_of(const Options& options,
                                 const Selected& selected) {
  std::vector<std::string> tags = selected.job->tags;
  tags.insert(tags.end(), options.tags.begin(), options.tags.end());
  if (options.name) tags.push_back(std::string(kNameTag) + *options.name);
  return tags;
}

void report(const BackupOutcome& outcome, const Selected& selected,
            Context& context) {
  const auto& [backup, seconds] = outcome;
  if (context.output.is_json()) {
    Json json = summary_of(backup, selected.series, seconds, context.now());
    json.set("job", selected.job->name);
    context.output.json(json);
    return;
  }
  print_summary(backup, selected.series, seconds, context.output);
  if (context.output.is_quiet() || !backup.snapshot) return;
  for (const auto& source : backup.sources) {
    context.output.line(
        "  " + printable(source.name) + ": " +
        (source.status == repo::SourceStatus::failed
             ? "FAILED: " + printable(source.message)
             : size_text(source.bytes) +
                   (source.status == repo::SourceStatus::partial
                        ? ", in part: " + printable(source.message)
                        : "")));
  }
}

void run_hooks(const std::vector<config::Hook>& hooks,
               const std::function<bool(const config::Hook&)>& applies,
               const std::stop_token& stop, Context& context) {
  for (const auto& hook : hooks) {
    if (applies(hook)) run_hook(hook, context.output, stop);
  }
}

// The backup between its hooks. What is to follow a failure does, also after
// Ctrl-C; a second one ends the program.
ExitCode save(const Options& options, const Selected& selected,
              const config::Configuration& all, repo::Repository& repository,
              RunNotes& notes, Context& context) {
  using When = config::Hook::When;
  const auto& job = *selected.job;
  const Interrupt interrupt;
  const auto after = [&](When occasion) {
    run_hooks(
        job.after,
        [&](const config::Hook& hook) {
          return hook.when == When::always || hook.when == occasion;
        },
        {}, context);
  };
  ExitCode code = ExitCode::ok;
  try {
    run_hooks(
        job.before, [](const config::Hook&) { return true; }, interrupt.token(),
        context);
    JobSources sources(selected.sources, context);
    const PastContent past(job, all, repository, context);
    auto outcome = run_backup(
        repository,
        sources.open(
            repository.keyring(),
            [&](const config::Source& source) { return past.if_empty(source); },
            interrupt.token()),
        {.series = selected.series,
         .tags = tags_of(options, selected),
         .levels = job.compression,
         .host = all.host},
        {"run " + job.name, "source"}, context, interrupt.token());
    std::ranges::move(sources.notes(),
                      std::back_inserter(outcome.report.notes));
    notes.saved(outcome.report, [&](const std::string& name) {
      return sources.seconds_of(name);
    });
    report(outcome, selected, context);
    code = exit_code_of(outcome.report);
  } catch (...) {
    try {
      after(When::failure);
    } catch (const HookFailed& e) {
      context.output.warning(e.what());  // what failed first is what is told
    }
    throw;
  }
  after(code == ExitCode::ok ? When::success : When::failure);
  return code;
}

// Only what a run left that was complete: a failing one must not count down the
// good states that there are.
ExitCode forget_by_policy(const Selected& selected,
                          const config::Policy& policy,
                          repo::Repository& repository, Context& context) {
  if (repository.keyring().role() != repo::Role::owner) {
    throw repo::WrongKey(
        "saved, but only the owner's key may forget by policy '" + policy.name +
        "'; say `retention: none` in job '" + selected.job->name +
        "', and forget where the owner's key is");
  }
  SnapshotSelector selector(context, repository, selected.series);
  const auto snapshots = selector.of_series();
  require_undamaged(selector.damage());
  require_past_arrivals(snapshots, context.now());
  const auto decisions = decide_by_rules(snapshots, policy.rules, repository);
  const auto forgotten = ids_of_forgotten(decisions);
  forget_all(decisions, repo::LastComplete::stays,
             policy.prunes ? SpaceComesBack::now : SpaceComesBack::with_a_prune,
             repository, context);
  if (context.output.is_json()) {
    Json ids = Json::array();
    for (const auto& id : forgotten) ids.add(id.hex());
    context.output.json(Json::line("forget", context.now())
                            .set("series", selected.series)
                            .set("policy", policy.name)
                            .set("kept", decisions.size() - forgotten.size())
                            .set("forgotten", std::move(ids)));
  }
  if (!policy.prunes || forgotten.empty()) return ExitCode::ok;
  return run_prune(repository, {}, PruneReport::text_only, context);
}

// What was written, and a share of the rest. Damage keeps good states from
// being forgotten for it.
ExitCode verify(const std::set<repo::PackId>& there_before,
                const config::Configuration& all, repo::Repository& repository,
                RunNotes& notes, Context& context) {
  const auto verified =
      verify_after_run(repository, there_before, all.data_checks, context);
  notes.run.verified = verified.code == ExitCode::ok;
  if (verified.code != ExitCode::ok) notes.run.message = verified.message;
  return verified.code;
}

ExitCode run_locked(const Options& options, const Selected& selected,
                    const config::Configuration& all, RunNotes& notes,
                    std::optional<repo::Repository>& repository,
                    Context& context) {
  if (!repository) repository.emplace(context.open_to_write());
  notes.repository = &*repository;
  (void)repository->index_store();  // its folder is there to be left out
  const auto there_before = packs_there(*repository);
  const auto saved = save(options, selected, all, *repository, notes, context);
  const auto code =
      worse(saved, verify(there_before, all, *repository, notes, context));
  if (code != ExitCode::ok) return code;
  const auto policy = policy_of(options, *selected.job, all);
  if (!policy) return ExitCode::ok;
  return forget_by_policy(selected, *policy, *repository, context);
}

ExitCode run(const Options& options, Context& context) {
  require_sense(options);
  const auto& all = context.need_configuration();
  const auto selected = select(options, all);
  context.use_repository(*all.repository(selected.job->repository));
  if (context.options.is_dry_run) {
    const auto policy = policy_of(options, *selected.job, all);
    return dry_run(
        selected, policy ? std::optional(policy->name) : std::nullopt, context);
  }

  std::optional<JobLock> lock;
  // It outlives what follows the run, which looks at it once more.
  std::optional<repo::Repository> repository;
  const auto take_lock = [&] {
    const Interrupt interrupt;
    lock.emplace(host_folders().state, context.repo_name(),
                 selected.job->series, options.wait, interrupt.token());
  };
  const auto look = [&](RunNotes& notes) {
    if (!options.name) return;
    repository.emplace(context.open_to_write());
    notes.repository = &*repository;
    require_new_name(options, selected, *repository, context);
  };
  const auto work = [&](RunNotes& notes) {
    return run_locked(options, selected, all, notes, repository, context);
  };
  return with_aftermath({all, *selected.job, selected.series}, context,
                        {take_lock, look, work});
}

}  // namespace

Command run_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "run",
      .group = CommandGroup::backup,
      .summary = "save what the configuration file says",
      .text =
          "Runs a job of the configuration file: its hooks, then all its "
          "sources into one snapshot, then its policy of what to forget. "
          "Without words, the only job there is. A source that fails does not "
          "keep the others from being saved (3, or 15 when nothing was); after "
          "a run that was not complete nothing is forgotten. One that is empty "
          "and was not before is as one that fails, unless it says "
          "`allow_empty: true`. With names of "
          "sources, or --only, a part of the job is saved, to a series of its "
          "own: SERIES/NAME. Then what was written is read again and verified, "
          "with a share of what was there before (4 when there is damage). A "
          "job runs once at a time: a second run is refused (11), or waits "
          "with --wait. A hook that fails ends with 17. With "
          "--dry-run servers are asked and folders walked, but nothing is "
          "read, and no hook or command runs.",
      .examples =
          "cairn run\n"
          "cairn run nightly --dry-run\n"
          "cairn run nightly --only config --name before-upgrade\n"
          "cairn run postgres",
      .declare =
          [options](Flags& flags) {
            flags.arguments("JOB|SOURCE", options->words, Flags::Count::any);
            flags.value(
                "--only", "data|config|databases",
                [options](std::string_view text) {
                  options->only = part_of(text);
                  options->only_word = text;
                },
                "only the sources of that part");
            flags.text("--name", "N", options->name,
                       "a name for this one snapshot: its tag name:N");
            flags.texts("--tag", "T", options->tags,
                        "a word to find it by; may be repeated");
            flags.value(
                "--keep-within", "SPAN",
                [options](std::string_view text) {
                  options->keep_within = repo::parse_calendar_span(text);
                  if (!options->keep_within ||
                      options->keep_within->is_zero()) {
                    throw UsageError("'" + std::string(text) +
                                     "' is not a span such as 48h, 30d or "
                                     "1y6m");
                  }
                },
                "in place of its policy: keep what is at most so much older "
                "than the newest");
            flags.value(
                "--wait", "SPAN",
                [options](std::string_view text) {
                  options->wait = parse_duration(text);
                },
                "how long to wait for a run of the job that is at work");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
