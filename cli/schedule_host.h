// What runs jobs on this machine when we are not there: systemd, or cron.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/planned_job.h"

namespace cairn::cli {

struct InstalledJob {
  std::string name;
  std::string text;  // of its units, or lines
  std::optional<std::string> frequency = {};
  std::optional<std::string> retention = {};
};

// Two: units of systemd, and the user's crontab. Touches what was made for one
// configuration file, and nothing else.
//
// Failure        repo::Error and its kinds; UsageError for a crontab that is
//                not as we left it.
class ScheduleHost {
 public:
  virtual ~ScheduleHost() = default;

  // "timers of systemd in /etc/systemd/system"
  [[nodiscard]] virtual std::string description() const = 0;

  // What else it takes for jobs to run, in words; nothing: nothing does.
  [[nodiscard]] virtual std::optional<std::string> caution() const = 0;

  [[nodiscard]] virtual std::vector<InstalledJob> installed() const = 0;

  // What would be there of a job.
  [[nodiscard]] virtual InstalledJob made_of(const PlannedJob& job) const = 0;

  // Puts these in place, over those of the same names, and lets them run.
  // Throws repo::RefusedForSafety where another's would have to give way.
  virtual void install(const std::vector<PlannedJob>& jobs) = 0;
  virtual void remove(const std::vector<std::string>& names) = 0;

  // What keeps an installed job from running, in words; nothing: nothing does,
  // as far as it can be told.
  [[nodiscard]] virtual std::optional<std::string> obstacle(
      const std::string& name) const = 0;
};

// `folder`: where units go that nobody is to load now. Without it: systemd
// where it runs, for root as the machine's and for others as their own; else
// the crontab. Throws repo::Error where there is neither.
[[nodiscard]] std::unique_ptr<ScheduleHost> schedule_host(
    const config::Configuration& all,
    const std::optional<std::filesystem::path>& folder);

}  // namespace cairn::cli
