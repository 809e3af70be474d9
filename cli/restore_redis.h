// The part of `restore` that puts a Redis dump into a stopped server's folder.
#pragma once

#include <optional>
#include <string>

#include "cli/context.h"
#include "cli/exit_code.h"

namespace cairn::cli {

struct RedisRestore {
  std::string snapshot;  // SNAP, or SNAP:PATH of a source or its dump
  std::optional<std::string> series;
  std::string folder;
  bool verify = false;
};

ExitCode restore_redis(const RedisRestore& options, Context& context);

}  // namespace cairn::cli
