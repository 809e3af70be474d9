#include "cli/planned_job.h"

#include <algorithm>
#include <cstdint>

#include "cli/command_line.h"
#include "cli/config/words.h"
#include "cli/config_file.h"
#include "cli/nearest.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

const std::vector<std::string> kFrequencies = {"hourly", "daily", "weekly",
                                               "monthly"};

const config::Job& job_named(const config::Configuration& all,
                             const std::string& name,
                             const std::string& command) {
  if (const auto* const job = all.job(name)) return *job;
  std::vector<std::string> names;
  for (const auto& job : all.jobs) names.push_back(job.name);
  const auto near = nearest(name, names);
  throw UsageError(command + ": " + all.file + " has no job '" + name + "'" +
                   (near ? "; did you mean '" + *near + "'?" : ""));
}

const config::Job& job_for(const config::Configuration& all,
                           const std::string& frequency,
                           const std::string& command) {
  if (all.jobs.size() == 1) return all.jobs.front();
  if (const auto* const job = all.job(frequency)) return *job;
  std::vector<std::string> names;
  for (const auto& job : all.jobs) names.push_back(job.name);
  throw UsageError(command + ": which job is " + frequency + "? There are " +
                   joined(names));
}

std::vector<const config::Job*> chosen_jobs(const config::Configuration& all,
                                            const ScheduleWords& words,
                                            const std::string& command) {
  std::vector<const config::Job*> chosen;
  for (const auto& name : words.jobs) {
    const auto* const job = &job_named(all, name, command);
    if (std::ranges::find(chosen, job) == chosen.end()) chosen.push_back(job);
  }
  if (!chosen.empty()) return chosen;
  if (words.frequency) return {&job_for(all, *words.frequency, command)};
  for (const auto& job : all.jobs) {
    if (job.schedule) chosen.push_back(&job);
  }
  return chosen;
}

}  // namespace

std::vector<std::string> PlannedJob::run_words() const {
  std::vector<std::string> words = {"run", job->name};
  if (retention) {
    words.emplace_back("--keep-within");
    words.push_back(*retention + "d");
  }
  return words;
}

void declare_schedule_words(Flags& flags, ScheduleWords& words) {
  flags.value(
      "--frequency", "hourly|daily|weekly|monthly",
      [&words](std::string_view text) {
        const std::string word(text);
        if (std::ranges::find(kFrequencies, word) == kFrequencies.end()) {
          const auto near = nearest(word, kFrequencies);
          throw UsageError("'" + word + "' is none of " + joined(kFrequencies) +
                           (near ? "; did you mean '" + *near + "'?" : ""));
        }
        words.frequency = word;
      },
      "how often, in place of the job's own schedule");
  flags.value(
      "--retention", "DAYS",
      [&words](std::string_view text) {
        constexpr std::uint64_t kMostDays = 36'500;
        const auto days = parse_count(text, kMostDays);
        if (days == 0) throw UsageError("--retention: no days at all");
        words.retention = std::to_string(days);
      },
      "keep what is so many days older than the newest at most, in place of "
      "the job's policy");
}

std::optional<PlannedJob> planned_job(
    const config::Configuration& all, const config::Job& job,
    const std::optional<std::string>& frequency,
    const std::optional<std::string>& retention) {
  if (!frequency && !job.schedule) return std::nullopt;
  if (frequency) require_time_zone(all);
  auto schedule =
      frequency
          ? config::Schedule{.timetable = service::Timetable(
                                 config::cron_of(*frequency), all.time_zone)}
          : *job.schedule;
  return PlannedJob{.job = &job,
                    .schedule = std::move(schedule),
                    .frequency = frequency,
                    .retention = retention};
}

std::vector<PlannedJob> planned_jobs(const config::Configuration& all,
                                     const ScheduleWords& words,
                                     const std::string& command) {
  std::vector<PlannedJob> planned;
  for (const auto* const job : chosen_jobs(all, words, command)) {
    auto one = planned_job(all, *job, words.frequency, words.retention);
    if (!one) {
      throw UsageError(command + ": job '" + job->name + "' of " + all.file +
                       " has no schedule; give it one (schedule: '0 2 * * *'), "
                       "or say --frequency daily");
    }
    planned.push_back(std::move(*one));
  }
  if (planned.empty()) {
    throw UsageError(command + ": no job of " + all.file +
                     " has a schedule; give one to a job (schedule: '0 2 * * "
                     "*'), or say --frequency daily");
  }
  return planned;
}

}  // namespace cairn::cli
