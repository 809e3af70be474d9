// What ran of a job before whoever asks was there: the log of runs says so.
// Where that cannot be read, or written any more, the repository does: what has
// a snapshot was run.
//
// A run that was killed could not say so itself. Whoever asks tells those who
// are to know, once, and has it in the log.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_line.h"
#include "cli/context.h"
#include "service/scheduler.h"

namespace cairn::cli {

// `options` name the configuration file. What cannot be read is told to
// `complain`, and is no reason to run nothing: a run too many is better than
// none.
[[nodiscard]] std::vector<service::PastRun> past_runs(
    const std::string& job, const GlobalOptions& options,
    const std::function<void(std::string_view)>& complain);

// The same, where a run has just ended that may have been killed.
void tell_if_killed(const std::string& job, const GlobalOptions& options);

// Whether the run that ended last did nothing, since another was at work.
// Throws repo::Error.
[[nodiscard]] bool was_refused(const std::string& job,
                               const GlobalOptions& options);

}  // namespace cairn::cli
