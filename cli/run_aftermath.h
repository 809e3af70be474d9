// What follows a run of a job, however it went: a line in the log, metrics, and
// word to those who asked for it. None of it changes how the run ends: what
// cannot be written or told is a warning.
#pragma once

#include <functional>
#include <string>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "ingest/backup.h"
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

// One run, whose job is locked.
struct RunOfJob {
  const config::Configuration& configuration;
  const config::Job& job;
  std::string series;  // that of the job, or of a part of it
};

// Does `work`, which gives the repository that it opened, and then what
// follows; lets through whatever `work` throws.
ExitCode with_aftermath(const RunOfJob& which, Context& context,
                        const std::function<ExitCode(RunNotes& notes)>& work);

}  // namespace cairn::cli
