#include "cli/wal_loss.h"

#include <algorithm>
#include <string>

#include "ingest/wal_push.h"
#include "ingest/wal_spool.h"

namespace cairn::cli {

WalLoss wal_loss_of(const ingest::RecoveryCluster& cluster,
                    const std::filesystem::path& spools) {
  WalLoss loss;
  for (const auto& stored : cluster.wal) {
    const auto& arrival = stored.snapshot->snapshot.header.arrival;
    loss.stored_at = std::max(loss.stored_at, std::optional(arrival));
  }
  const auto spool = spools / std::to_string(cluster.system);
  loss.has_receiver = ingest::is_spool_in_use(spool);
  for (const auto& pushed : ingest::PushedWal(spool).waiting()) {
    loss.spooled_bytes += pushed.bytes;
  }
  for (const auto& run : ingest::look_at_spool(spool)) {
    ingest::Lsn stored = run.start;
    for (const auto& range : cluster.stored(run.timeline)) {
      if (range.begin <= run.durable_end) stored = std::max(stored, range.end);
    }
    if (run.durable_end > stored) {
      loss.spooled_bytes += run.durable_end.value - stored.value;
    }
  }
  return loss;
}

}  // namespace cairn::cli
