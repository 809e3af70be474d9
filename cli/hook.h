// A program that the configuration has run before or after a job.
#pragma once

#include <stdexcept>
#include <stop_token>

#include "cli/config/configuration.h"
#include "cli/output.h"

namespace cairn::cli {

// It could not be started, failed, or took too long. Exit code 17.
struct HookFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs it to its end. What it writes to its standard output becomes notes,
// since ours carries data alone; its standard input is empty. One that takes
// longer than its timeout is ended with all that it started. Throws HookFailed,
// repo::Cancelled when `stop` is requested.
void run_hook(const config::Hook& hook, Output& output,
              const std::stop_token& stop);

}  // namespace cairn::cli
