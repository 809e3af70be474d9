// The WAL of a path as a recovering server sees it: of each segment the file of
// the newest timeline, from what was received or from a base backup's own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "ingest/recovery_range.h"
#include "ingest/wal_records.h"
#include "repo/repository.h"

namespace cairn::ingest {

// Threads        one thread at a time.
// Failure        as WalReader.
class RecoveryWal {
 public:
  // Borrows both.
  RecoveryWal(repo::Repository& repository, const RecoveryCluster& cluster);
  ~RecoveryWal();

  [[nodiscard]] const RecoveryCluster& cluster() const noexcept {
    return cluster_;
  }

  // As many bytes as there are from there on, at most out.size().
  [[nodiscard]] std::size_t read(const RecoveryPath& path, Lsn at,
                                 std::span<std::byte> out);

  // The timeline history file; nothing: it is stored nowhere.
  [[nodiscard]] std::optional<std::string> history(std::uint32_t timeline);

  // Of a timeline whose history is nowhere, what is before it is not known.
  struct Way {
    RecoveryPath path;
    bool is_known = true;
  };
  [[nodiscard]] Way path_to(std::uint32_t timeline);

  // ---- what its records say

  [[nodiscard]] WalRecords records(const RecoveryPath& path, Lsn from);

  struct End {
    Lsn last;                            // where the last record begins
    Lsn next;                            // and where the one behind it would
    std::optional<WalTime> last_commit;  // or abort
    std::optional<WalTime> last_time;    // of any record that has one
  };
  // Of the records that begin from `begin`, where one does, to `end`; reads
  // from the end backwards, no further than to a commit. Nothing: there are
  // none.
  [[nodiscard]] std::optional<End> last_records(const RecoveryPath& path,
                                                Lsn begin, Lsn end,
                                                const std::stop_token& stop);

  // From when on a recovery from that base can end: when its end was passed,
  // or, if it does not say, the last time in its own WAL. Nothing: it cannot be
  // told.
  [[nodiscard]] std::optional<WalTime> first_moment(
      const RecoveryPath& path, const RecoveryBase& base,
      const std::stop_token& stop);

 private:
  class OwnWal;  // of one base
  [[nodiscard]] std::size_t read_file(const PathStep& step, Lsn at,
                                      std::span<std::byte> out);

  repo::Repository& repository_;
  const RecoveryCluster& cluster_;
  WalReader received_;
  std::map<const RecoveryBase*, std::unique_ptr<OwnWal>> own_;
};

// "2026-11-27 08:01:02.123456+00": as the server writes and reads it.
[[nodiscard]] std::string to_string(WalTime time);

}  // namespace cairn::ingest
