// The crontab of a user, and in it a block of ours for each configuration file.
// What stands outside of that is somebody else's, and stays byte for byte.
//
//   # BEGIN cairn /etc/cairn/cairn.yaml
//   # job nightly: 0 2 * * * in Europe/Berlin
//   0 * * * * cairn ... daemon --once nightly
//   # END cairn /etc/cairn/cairn.yaml
//
// cron only wakes us, at each minute of an hour that the job may be due: by
// which zone's clock it is, what was missed while the machine was off, and by
// how much to wait, the program knows better (cron of Debian knows no zones).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "service/timetable.h"

namespace cairn::service {

struct CrontabJob {
  std::string name;
  std::string lines;  // each with its end
  std::optional<std::string> frequency = {};
  std::optional<std::string> retention = {};
};

// `machine_zone` is that by whose clock cron goes, if it has a name; `command`
// is made of words for sh.
[[nodiscard]] CrontabJob crontab_job(
    const std::string& name, const Timetable& timetable,
    const std::optional<std::string>& machine_zone,
    const std::vector<std::string>& command,
    const std::optional<std::string>& frequency,
    const std::optional<std::string>& retention);

// The jobs in the block of that configuration. Throws std::invalid_argument,
// saying what to do, when a block has no end.
[[nodiscard]] std::vector<CrontabJob> jobs_in_crontab(
    std::string_view crontab, const std::string& configuration);

// The crontab with these in place of its block; none: without a block. Throws
// as above, and repo::RefusedForSafety when the block has a line that is not of
// a job of ours: it would be lost.
[[nodiscard]] std::string with_jobs(std::string_view crontab,
                                    const std::string& configuration,
                                    const std::vector<CrontabJob>& jobs);

// A word for sh, within a crontab.
[[nodiscard]] std::string crontab_word(std::string_view text);

}  // namespace cairn::service
