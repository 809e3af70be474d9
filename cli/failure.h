// What an error is to whoever started the program: how it ends, and what is
// told.
#pragma once

#include <exception>
#include <optional>
#include <string>

#include "cli/exit_code.h"

namespace cairn::cli {

struct Failure {
  ExitCode code = ExitCode::failed;
  std::string message;  // with what to do next
};

// `repository` is the one that the program has to do with, if any.
[[nodiscard]] Failure failure_of(const std::exception& error,
                                 const std::optional<std::string>& repository);

}  // namespace cairn::cli
