// What was typed makes no sense; nothing was done. Exit code 2.
#pragma once

#include <stdexcept>

namespace cairn::cli {

struct UsageError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace cairn::cli
