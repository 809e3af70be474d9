// Where a receiver goes on, among what the spool holds.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ingest/wal_protocol.h"
#include "ingest/wal_spool.h"

namespace cairn::ingest {

// The run that came furthest; but where an archive_command went on behind WAL
// that was not received, and the server keeps all from `kept` on, which has
// that in it, the one before. `runs` as WalSpool::runs() gives them, `ends` of
// the server's history. Null: there are none.
[[nodiscard]] std::shared_ptr<WalRun> run_to_go_on_from(
    std::span<const std::shared_ptr<WalRun>> runs,
    const std::vector<TimelineEnd>& ends, Lsn kept);

}  // namespace cairn::ingest
