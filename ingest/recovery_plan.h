// Which base backup, which WAL and which settings bring a cluster to a moment;
// found out before anything is written, by reading the WAL as the server will.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/recovery_range.h"
#include "ingest/recovery_wal.h"
#include "ingest/wal_records.h"
#include "repo/progress.h"

namespace cairn::ingest {

struct RecoveryTarget {
  enum class Kind {
    time,         // all that committed until then, that moment included
    lsn,          // up to the record that begins there or next behind it
    transaction,  // including its commit
    name,         // of a restore point
    immediate,    // as soon as the base is consistent
    end,          // all WAL that there is
  };
  Kind kind = Kind::end;
  WalTime time;
  Lsn lsn;
  std::uint32_t transaction = 0;
  std::string name;
};

// In words: "2026-11-27 08:01:02+00", "transaction 4711".
[[nodiscard]] std::string to_string(const RecoveryTarget& target);

struct RecoveryPlan {
  const RecoveryBase* base = nullptr;
  std::uint32_t timeline = 0;  // to go to
  RecoveryPath path;
  // As the server is told. Not what was asked for where WAL ends without a
  // record behind that moment, for which it would wait: then it is the last
  // record.
  RecoveryTarget target;
  // Where the server will have replayed WAL to when it stops; of immediate, at
  // least.
  Lsn stop;
  Lsn wal_end;  // it reads no further
  // The last one that is in it. Nothing: none since the base began.
  std::optional<WalTime> last_commit;
  // What its user should know before a server starts: of clocks, mostly.
  std::vector<std::string> warnings;
  // Of tablespaces that WAL creates on the way, the places on the server's
  // machine: replaying it writes there.
  std::vector<std::string> new_tablespaces;
};

// The newest base whose end lies before the target, and what follows. Reads all
// WAL from that base to the target. `timeline`: which to go to; nothing: the
// newest. `progress` counts the bytes of WAL.
//
// Throws repo::RefusedForSafety, with what can be reached, for a target that
// cannot.
[[nodiscard]] RecoveryPlan plan_recovery(RecoveryWal& wal,
                                         const RecoveryTarget& target,
                                         std::optional<std::uint32_t> timeline,
                                         repo::Progress& progress,
                                         const std::stop_token& stop);

// What can be reached, a line for each window of each timeline.
[[nodiscard]] std::vector<std::string> reachable_moments(
    RecoveryWal& wal, const std::stop_token& stop);

}  // namespace cairn::ingest
