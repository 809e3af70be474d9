// Which moment 'cairn restore' is to bring a PostgreSQL cluster to, and how, as
// its flags say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "ingest/recovery_plan.h"

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

  // Once all flags were read. Throws UsageError for two targets.
  void settle();

  // One that was given though there is no target.
  [[nodiscard]] std::optional<std::string> flag_without_target() const;
};

// --at and its like. `request` must outlive the parsing.
void declare_recovery(Flags& flags, RecoveryRequest& request);

}  // namespace cairn::cli
