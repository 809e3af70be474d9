// Findings as `check` and `audit verify` tell them.
#pragma once

#include "cli/context.h"
#include "cli/exit_code.h"
#include "repo/finding.h"

namespace cairn::cli {

// What keeps "no damage" from being the whole truth.
[[nodiscard]] bool limits_the_answer(const repo::Finding& finding);

// One line and what it hurts, or an object. Notes and garbage, which are no
// news to who asks about damage, only with --verbose, or as objects.
void print(const repo::Finding& finding, Context& context);

// 4 for damage, 16 for what needs a newer program.
[[nodiscard]] ExitCode code_of(const repo::CheckReport& report);

}  // namespace cairn::cli
