// 'cairn restore --at': a PostgreSQL cluster as it was at a moment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "ingest/recovery_plan.h"
#include "ingest/recovery_server.h"

namespace cairn::cli {

enum class WalDelivery {
  copy,  // into the restored folder
  fetch  // by the server itself, from the repository
};

struct RecoveryRequest {
  std::optional<ingest::RecoveryTarget> target;  // nothing: a snapshot is meant
  std::optional<std::uint32_t> timeline;         // nothing: the newest
  bool names_timeline = false;
  bool is_immediate = false;  // becomes a target
  std::optional<WalDelivery> delivery;
  bool verify = false;
  std::vector<std::string> sql;         // what --verify-sql has: text or a file
  std::optional<std::string> database;  // for it
  std::optional<std::string> bin_dir;

  // Instead of leaving the cluster there: recovers it, and hands its server on.
  // Nothing is said of what was restored then.
  std::function<void(const ingest::RecoveredServer&, const std::stop_token&)>
      use;

  // Once all flags were read. Throws UsageError for two targets.
  void settle();

  // One that was given though there is no target.
  [[nodiscard]] std::optional<std::string> flag_without_target() const;
};

// --at and its like. `request` must outlive the parsing.
void declare_recovery(Flags& flags, RecoveryRequest& request);

// Requires: request.target.
[[nodiscard]] ExitCode restore_to_moment(
    const RecoveryRequest& request, const std::optional<std::string>& series,
    const std::string& to, Context& context);

}  // namespace cairn::cli
