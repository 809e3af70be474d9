// What the next disaster would take of a cluster's WAL, as far as can be told
// from this host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "ingest/recovery_range.h"
#include "repo/entry.h"

namespace cairn::cli {

struct WalLoss {
  std::optional<repo::Timestamp> stored_at;  // the last WAL
  std::uint64_t spooled_bytes = 0;           // of this host, not stored yet
  bool has_receiver = false;                 // at work on this host
};

// `spools` is where this host has those of the series (cli/pg_wal.h).
[[nodiscard]] WalLoss wal_loss_of(const ingest::RecoveryCluster& cluster,
                                  const std::filesystem::path& spools);

}  // namespace cairn::cli
