#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "cli/commands.h"
#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/job_secrets.h"
#include "cli/json.h"
#include "cli/planned_job.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/schedule_host.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

struct Options {
  ScheduleWords words;
  std::optional<std::string> folder;
  bool prints = false;
};

std::unique_ptr<ScheduleHost> host_of(const Options& options,
                                      const config::Configuration& all) {
  if (options.folder && options.folder->empty()) {
    throw UsageError("--dir: an empty name");
  }
  return schedule_host(all, options.folder
                                ? std::optional(std::filesystem::absolute(
                                      std::filesystem::path(*options.folder)))
                                : std::nullopt);
}

void declare_folder(Flags& flags, Options& options) {
  flags.value("--dir", "DIR", options.folder,
              "where units of systemd are, of which it is not told");
}

// How an installed job stands to what the file says now.
enum class State { fits, differs, has_no_schedule, is_gone, is_missing };

struct Standing {
  std::string job;
  State state = State::fits;
  std::optional<PlannedJob> planned = {};
  std::optional<std::string> obstacle = {};

  [[nodiscard]] bool is_right() const {
    return state == State::fits && !obstacle;
  }
};

Standing standing_of(const InstalledJob& installed, const ScheduleHost& host,
                     const config::Configuration& all) {
  Standing standing{.job = installed.name};
  const auto* const job = all.job(installed.name);
  if (job == nullptr) {
    standing.state = State::is_gone;
    return standing;
  }
  standing.planned =
      planned_job(all, *job, installed.frequency, installed.retention);
  if (!standing.planned) {
    standing.state = State::has_no_schedule;
  } else if (host.made_of(*standing.planned).text != installed.text) {
    standing.state = State::differs;
  }
  standing.obstacle = host.obstacle(installed.name);
  return standing;
}

std::vector<Standing> standings(const ScheduleHost& host,
                                const config::Configuration& all) {
  std::vector<Standing> list;
  for (const auto& installed : host.installed()) {
    list.push_back(standing_of(installed, host, all));
  }
  for (const auto& job : all.jobs) {
    const bool is_there = std::ranges::any_of(
        list, [&](const Standing& one) { return one.job == job.name; });
    if (!job.schedule || is_there) continue;
    list.push_back({.job = job.name,
                    .state = State::is_missing,
                    .planned = planned_job(all, job, {}, {})});
  }
  return list;
}

std::string name_of(State state) {
  switch (state) {
    case State::fits:
      return "installed";
    case State::differs:
      return "differs from the file";
    case State::has_no_schedule:
      return "has no schedule in the file any more";
    case State::is_gone:
      return "is not in the file any more";
    case State::is_missing:
      return "not installed";
  }
  return "";
}

// Of a repository whose key comes from the environment, which the schedule has
// not.
void warn_of_missing_keys(const std::vector<PlannedJob>& jobs,
                          const config::Configuration& all, Context& context) {
  const bool is_in_environment = std::getenv("CAIRN_KEY_FILE") != nullptr ||
                                 std::getenv("CAIRN_PASSWORD_FILE") != nullptr;
  for (const auto& repository : all.repositories) {
    const bool is_used =
        std::ranges::any_of(jobs, [&](const PlannedJob& planned) {
          return planned.job->repository == repository.name;
        });
    if (!is_used || repository.key_file || repository.password ||
        is_in_environment) {
      continue;
    }
    context.output.warning(
        all.file + ": repositories." + repository.name +
        " says neither `key` nor `password`, and nobody is there to ask when "
        "its jobs run");
  }
}

// Variables that the file has secrets from are those of whoever installs, and
// no paths that a unit or a crontab could show.
void warn_of_variables(const std::vector<PlannedJob>& jobs,
                       const config::Configuration& all, Context& context) {
  for (const auto& planned : jobs) {
    for (const auto* const place : secrets_of(*planned.job, all)) {
      if (place->kind != config::SecretPlace::Kind::variable) continue;
      context.output.warning(
          place->origin + ": job " + planned.job->name +
          " has a secret from the variable " + printable(place->text) +
          ", which is not there when systemd or cron runs it; say {file: F}");
    }
  }
}

// A run by itself goes where the file says: another place that was named
// here would be so only as long as somebody looks.
void require_repositories_of_file(const std::vector<PlannedJob>& jobs,
                                  const config::Configuration& all,
                                  Context& context) {
  namespace fs = std::filesystem;
  const auto given = context.repo_given();
  if (!given) return;
  for (const auto& planned : jobs) {
    const auto& path = all.repository(planned.job->repository)->path;
    if (fs::absolute(*given).lexically_normal() == fs::path(path)) continue;
    throw UsageError("schedule install: -r or CAIRN_REPO names " + *given +
                     ", but job " + planned.job->name + " of " + all.file +
                     " runs to " + path +
                     "; name the repository in the file, or leave it out here");
  }
}

void print_made(const std::vector<PlannedJob>& planned,
                const ScheduleHost& host, Context& context) {
  if (context.output.is_json()) {
    Json list = Json::array();
    for (const auto& job : planned) {
      const auto made = host.made_of(job);
      Json json = Json::object();
      json.set("job", made.name).set_bytes("text", made.text);
      list.add(std::move(json));
    }
    context.output.document(list);
    return;
  }
  for (const auto& job : planned) {
    const auto text = host.made_of(job).text;
    context.output.bytes(std::as_bytes(std::span(text)));
  }
}

// What is installed and is not to be, by what the file says now.
std::vector<std::string> left_over(const ScheduleHost& host,
                                   const config::Configuration& all) {
  std::vector<std::string> names;
  for (const auto& one : standings(host, all)) {
    if (one.state == State::is_gone || one.state == State::has_no_schedule) {
      names.push_back(one.job);
    }
  }
  return names;
}

ExitCode install(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto planned = planned_jobs(all, options.words, "schedule install");
  const auto host = host_of(options, all);
  require_repositories_of_file(planned, all, context);
  warn_of_missing_keys(planned, all, context);
  warn_of_variables(planned, all, context);
  if (options.prints || context.options.is_dry_run) {
    print_made(planned, *host, context);
    return ExitCode::ok;
  }
  const bool is_all = options.words.jobs.empty() && options.words.is_of_file();
  const auto gone = is_all ? left_over(*host, all) : std::vector<std::string>();
  host->install(planned);
  host->remove(gone);
  const auto now = context.now();
  for (const auto& job : planned) {
    const auto next =
        timestamp_of(job.schedule.timetable.next_after(moment_of(now)));
    if (context.output.is_json()) {
      context.output.json(Json::line("scheduled", now)
                              .set("job", job.job->name)
                              .set("schedule", job.schedule.timetable.text())
                              .set("next", next));
    } else {
      context.output.note("job " + job.job->name + " runs by " +
                          host->description() + ", next " +
                          local_time_text(next));
    }
  }
  if (const auto caution = host->caution()) context.output.warning(*caution);
  for (const auto& name : gone) {
    context.output.note("job " + printable(name) +
                        " has no schedule any more: removed");
  }
  return ExitCode::ok;
}

ExitCode remove(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto host = host_of(options, all);
  std::vector<std::string> names;
  for (const auto& job : host->installed()) names.push_back(job.name);
  if (!options.words.jobs.empty()) {
    for (const auto& name : options.words.jobs) {
      if (std::ranges::find(names, name) == names.end()) {
        throw UsageError("schedule remove: job '" + name +
                         "' is not installed");
      }
    }
    names = options.words.jobs;
  }
  if (!context.options.is_dry_run) host->remove(names);
  const std::string verb =
      context.options.is_dry_run ? "would remove" : "removed";
  for (const auto& name : names) {
    if (context.output.is_json()) {
      context.output.json(Json::line("unscheduled", context.now())
                              .set("job", name)
                              .set("dry_run", context.options.is_dry_run));
    } else {
      context.output.note(verb + " job " + printable(name) + " from " +
                          host->description());
    }
  }
  if (names.empty()) context.output.note("nothing of it is installed");
  return ExitCode::ok;
}

ExitCode show(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto planned = planned_jobs(all, options.words, "schedule show");
  constexpr int kShown = 3;
  Json list = Json::array();
  Table table({{"Job"}, {"Schedule"}, {"Next"}, {"Then"}, {"And then"}});
  for (const auto& job : planned) {
    const auto& timetable = job.schedule.timetable;
    Json next = Json::array();
    std::vector<std::string> row = {job.job->name, timetable.text()};
    auto moment = moment_of(context.now());
    for (int i = 0; i < kShown; ++i) {
      moment = timetable.next_after(moment);
      next.add(rfc3339(timestamp_of(moment)));
      row.push_back(local_time_text(timestamp_of(moment)));
    }
    table.add(std::move(row));
    Json json = Json::object();
    json.set("job", job.job->name)
        .set("schedule", timetable.text())
        .set("time_zone", timetable.zone())
        .set("jitter_seconds", job.schedule.jitter.count())
        .set("catch_up", job.schedule.catches_up)
        .set("next", std::move(next));
    list.add(std::move(json));
  }
  if (context.output.is_json()) {
    context.output.document(list);
    return ExitCode::ok;
  }
  table.print(context.output);
  context.output.note("by the clocks of " + all.time_zone);
  return ExitCode::ok;
}

ExitCode status(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  const auto host = host_of(options, all);
  const auto list = standings(*host, all);
  const bool is_right = std::ranges::all_of(list, &Standing::is_right);
  const auto now = context.now();
  Json jobs = Json::array();
  Table table({{"Job"}, {"Schedule"}, {"Next"}, {"State"}});
  for (const auto& one : list) {
    std::string state = name_of(one.state);
    if (one.obstacle) state += ", but " + *one.obstacle;
    Json json = Json::object();
    json.set("job", one.job).set("state", state);
    json.set("installed", one.state != State::is_missing);
    json.set("as_the_file_says", one.is_right());
    std::string schedule;
    std::string next;
    if (one.planned) {
      const auto& timetable = one.planned->schedule.timetable;
      const auto moment = timestamp_of(timetable.next_after(moment_of(now)));
      schedule = timetable.text();
      if (one.state != State::is_missing) next = local_time_text(moment);
      json.set("schedule", schedule).set("next", moment);
    } else {
      json.set("schedule", nullptr).set("next", nullptr);
    }
    table.add({one.job, schedule, next, state});
    jobs.add(std::move(json));
  }
  if (context.output.is_json()) {
    context.output.document(jobs);
  } else {
    table.print(context.output);
    context.output.note(
        host->description() + " of " + all.file + ": " +
        (is_right ? "as the file says"
                  : "not as the file says; `cairn schedule install` mends "
                    "that"));
  }
  return is_right ? ExitCode::ok : ExitCode::failed;
}

void declare_jobs(Flags& flags, Options& options) {
  flags.arguments("JOB", options.words.jobs, Flags::Count::any);
}

}  // namespace

Command schedule_install_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "schedule install",
      .group = CommandGroup::administration,
      .summary = "have jobs run by themselves",
      .text =
          "Has systemd run the jobs of the configuration file that have a "
          "schedule: a service and a timer for each, of the machine for root "
          "and else the user's own. Where systemd does not run, lines in the "
          "user's crontab wake the program; in a container, 'cairn daemon' "
          "does without either. Done again it changes what the file says "
          "anew, and nothing else; jobs that have no schedule any more are "
          "removed. With --frequency and --retention a job runs so whatever "
          "the file says of that; JOB may be left out where the file has one, "
          "or one called by the frequency. Nothing is written with --print.",
      .examples =
          "cairn schedule install\n"
          "cairn schedule install nightly --print\n"
          "cairn schedule install --frequency daily --retention 30",
      .declare =
          [options](Flags& flags) {
            declare_jobs(flags, *options);
            declare_schedule_words(flags, options->words);
            flags.flag("--print", options->prints,
                       "show what would be written, and write nothing");
            declare_folder(flags, *options);
          },
      .run = [options](Context& context) { return install(*options, context); },
  };
}

Command schedule_remove_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "schedule remove",
      .group = CommandGroup::administration,
      .summary = "have them run by themselves no longer",
      .text =
          "Takes away what 'schedule install' made for this configuration "
          "file, or for some jobs of it. Units and lines of others stay as "
          "they are, and so do all snapshots.",
      .examples =
          "cairn schedule remove\n"
          "cairn schedule remove nightly",
      .declare =
          [options](Flags& flags) {
            declare_jobs(flags, *options);
            declare_folder(flags, *options);
          },
      .run = [options](Context& context) { return remove(*options, context); },
  };
}

Command schedule_show_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "schedule show",
      .group = CommandGroup::administration,
      .summary = "say when jobs are due",
      .text =
          "Lists the jobs that have a schedule, and when each is due next, "
          "whether or not anything is installed that runs them.",
      .examples =
          "cairn schedule show\n"
          "cairn schedule show nightly --json",
      .declare =
          [options](Flags& flags) {
            declare_jobs(flags, *options);
            declare_schedule_words(flags, options->words);
          },
      .run = [options](Context& context) { return show(*options, context); },
  };
}

Command schedule_status_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "schedule status",
      .group = CommandGroup::administration,
      .summary = "compare what is installed with the file",
      .text =
          "Says of each job whether it is installed as the configuration file "
          "says now. Ends with 1 where one is not.",
      .examples =
          "cairn schedule status\n"
          "cairn schedule status --json",
      .declare = [options](Flags& flags) { declare_folder(flags, *options); },
      .run = [options](Context& context) { return status(*options, context); },
  };
}

}  // namespace cairn::cli
