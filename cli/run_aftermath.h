// What follows a run of a job, however it went: a line in the log, metrics, and
// word to those who asked for it. None of it changes how the run ends: what
// cannot be written or told is a warning.
//
// What precedes it is a line, too: a run that is killed leaves its begin, and
// the next one that gets the job's lock tells of it.
#pragma once

#include <functional>
#include <string>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "ingest/backup.h"
#include "repo/error.h"
#include "repo/repository.h"
#include "service/run_log.h"

namespace cairn::cli {

// What a run gets to know of itself while it is at work.
struct RunNotes {
  service::JobRun run;
  repo::Repository* repository = nullptr;  // once it is open

  // What was saved, and `seconds_of` the streams that were measured.
  void saved(const ingest::BackupReport& report,
             const std::function<std::optional<double>(const std::string&)>&
                 seconds_of);
};

// One run; the repository is the one that `context` uses.
struct RunOfJob {
  const config::Configuration& configuration;
  const config::Job& job;
  std::string series;  // that of the job, or of a part of it
};

// What was asked for cannot be done, and nothing failed: whoever asked is told,
// and nobody else.
struct NoRun : repo::RefusedForSafety {
  using RefusedForSafety::RefusedForSafety;
};

struct RunSteps {
  std::function<void()> take_lock;  // of the job
  // Before it begins; may throw NoRun. Both note the repository that they open.
  std::function<void(RunNotes& notes)> look;
  std::function<ExitCode(RunNotes& notes)> work;
};

// Does the steps, and then what follows; lets through whatever they throw. A
// run that another one is in the way of is a failed one, unless somebody sits
// at the terminal and sees it.
ExitCode with_aftermath(const RunOfJob& which, Context& context,
                        const RunSteps& steps);

// Where the last run of it was killed: puts that into the log, and tells.
// Requires: the job's lock is held.
void tell_of_lost_run(const RunOfJob& which, Context& context);

}  // namespace cairn::cli
