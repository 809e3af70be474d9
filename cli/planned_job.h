// A job that is to run by itself: as its file says, or as --frequency and
// --retention do in its place.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/config/configuration.h"

namespace cairn::cli {

class Flags;

// Words of the command line, as they came.
struct ScheduleWords {
  std::vector<std::string> jobs;
  std::optional<std::string> frequency;
  std::optional<std::string> retention;  // days

  [[nodiscard]] bool is_of_file() const noexcept {
    return !frequency && !retention;
  }
};

struct PlannedJob {
  const config::Job* job = nullptr;
  config::Schedule schedule;
  std::optional<std::string> frequency = {};
  std::optional<std::string> retention = {};

  // What runs it: "run", "nightly", and what is said in place of the file.
  [[nodiscard]] std::vector<std::string> run_words() const;
};

// Declares --frequency and --retention, each checked.
void declare_schedule_words(Flags& flags, ScheduleWords& words);

// The jobs that were named, else all that have a schedule; with a frequency the
// one that was named, else the only one, else the one of that name. Throws
// UsageError; `command` is what the message begins with.
[[nodiscard]] std::vector<PlannedJob> planned_jobs(
    const config::Configuration& all, const ScheduleWords& words,
    const std::string& command);

// The same job with what was said of it when it was installed. Nothing: it has
// no schedule then.
[[nodiscard]] std::optional<PlannedJob> planned_job(
    const config::Configuration& all, const config::Job& job,
    const std::optional<std::string>& frequency,
    const std::optional<std::string>& retention);

}  // namespace cairn::cli
