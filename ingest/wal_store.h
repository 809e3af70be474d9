// Puts received WAL into the repository: each flush commits a snapshot that
// holds what its predecessor held and what came since, less what precedes the
// oldest base backup of the cluster.
//
//   predecessor:  root -- wal/SYSTEM/TIMELINE/START -- list of chunks
//                                                        |   |   |
//   successor:    root -- wal/SYSTEM/TIMELINE/START -- list, its end written
//                                                      anew, and new chunks
//
// Nothing of the predecessor is read but one node per level, and nothing of it
// stored anew: a flush costs what is new. A chunk ends where the address in WAL
// is a multiple of the page size, so that two receivers' chunks are the same,
// and where a flush ends (FORMAT.md, section 7).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/wal_name.h"
#include "ingest/wal_spool.h"
#include "repo/entry.h"
#include "repo/repository.h"

namespace cairn::ingest {

// Facts that the server gave.
struct WalCluster {
  std::uint64_t system = 0;
  std::uint64_t segment_bytes = 0;
  std::string server_version;  // "15.18 (Debian 15.18-0+deb12u1)"
};

// Kept in the spool, for who finds that after a crash. Nothing: no spool, or
// damaged.
void note_spooled_cluster(const std::filesystem::path& spool,
                          const WalCluster& cluster);
[[nodiscard]] std::optional<WalCluster> read_spooled_cluster(
    const std::filesystem::path& spool);

struct WalStoreOptions {
  std::string series;  // "HOST/pg/wal"
  std::string host;
  std::string user;
  std::string program;
  std::function<repo::Timestamp()> clock;
};

struct WalFlush {
  WalStreamId stream;
  Lsn begin;  // of what is new
  Lsn end;
  repo::SessionId snapshot;
  std::uint64_t bytes_stored = 0;
  // Where the predecessor started, if no base needs what it started with.
  std::optional<Lsn> trimmed_from;
  // Why the stream begins anew, and does not go on from what was committed
  // before.
  std::optional<std::string> began_anew;
  std::vector<std::string> warnings;
};

// A run that goes on with what is stored.
struct AdoptedWal {
  std::shared_ptr<WalRun> run;  // null: a stream is to begin anew
  // What is stored is damaged.
  std::optional<std::string> warning;
};

// Threads        one thread at a time.
// Failure        whatever is wrong with the repository: nothing is committed
//                then, or what is committed is held by the next flush too.
//                Cancelled.
class WalStore {
 public:
  WalStore(WalCluster cluster, WalStoreOptions options);

  [[nodiscard]] const WalCluster& cluster() const noexcept { return cluster_; }
  [[nodiscard]] const WalStoreOptions& options() const noexcept {
    return options_;
  }

  // Commits what is durable in the run; then what the run keeps shrinks. Damage
  // to what was committed before is no failure: then the stream begins anew, or
  // is not trimmed. Nothing: all of it is committed already.
  [[nodiscard]] std::optional<WalFlush> flush(
      repo::Repository& repository, WalRun& run,
      const std::map<std::uint32_t, std::string>& histories,
      const std::stop_token& stop);

  // For a host that received nothing yet: the stream that came furthest on
  // `timeline`, with the beginning of its last segment read back, as a run to
  // go on from. Null: there is none, or it is damaged, or this role may not
  // read it.
  [[nodiscard]] AdoptedWal adopt(repo::Repository& repository, WalSpool& spool,
                                 std::uint32_t timeline);

 private:
  WalCluster cluster_;
  WalStoreOptions options_;
};

}  // namespace cairn::ingest
