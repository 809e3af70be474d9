// What a run verifies of what is stored: all that it wrote itself, and of the
// rest so much that within a cycle everything is read (service/
// verification_plan.h).
#pragma once

#include <set>
#include <string>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "repo/repository.h"

namespace cairn::cli {

// Before the run writes: what is there by then is not its own.
[[nodiscard]] std::set<repo::PackId> packs_there(repo::Repository& repository);

struct RunVerification {
  ExitCode code = ExitCode::ok;  // damage; what needs a newer program
  std::string message = {};      // what is wrong, in a line
};

// Tells findings as `check` does, and a summary. Remembers what was read.
// Throws repo::Cancelled, repo::StorageUnreachable and so on.
[[nodiscard]] RunVerification verify_after_run(
    repo::Repository& repository, const std::set<repo::PackId>& there_before,
    const config::DataChecks& checks, Context& context);

}  // namespace cairn::cli
