// Receives the WAL of a server as it is made, until it is told to stop.
//
//   server --COPY--> spool, synced --> acknowledged: the server may forget it
//                      |
//                      +--WalDrain--> repository
//
// A server that restarts, a connection that breaks, a promotion, a slot that
// somebody dropped, a repository that is full: it goes on, and says so. It
// ends where going on would make something worse: another cluster at the same
// address, other bytes for WAL that is stored, a slot that has lost WAL.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/postgres_connection.h"
#include "ingest/wal_drain.h"
#include "ingest/wal_protocol.h"
#include "ingest/wal_server.h"
#include "ingest/wal_spool.h"
#include "ingest/wal_store.h"
#include "repo/repository.h"

namespace cairn::ingest {

struct WalReceiverOptions {
  std::string slot;
  // Of this host, repository and series; a folder in it for each cluster.
  std::filesystem::path spool;
  // While so many bytes wait for the repository, no more are taken from the
  // server, which keeps them for the slot.
  std::uint64_t max_spool = std::uint64_t{4} << 30;
  WalDrain::Options drain;
  WalStoreOptions store;
};

// Threads        run() once; the rest from any thread.
class WalReceiver {
 public:
  // Of Mode::replication.
  using Connect = std::function<PostgresConnection(const std::stop_token&)>;
  // True once for each time that somebody asked for a flush; asked often.
  using TakeFlushRequest = std::function<bool()>;

  // Borrows events.
  WalReceiver(WalReceiverOptions options, Connect connect,
              repo::Repository repository, WalDrain::OpenRepository open,
              TakeFlushRequest take_flush_request, WalEvents& events);

  // Until `stop`; then what the server has by now is received, and all of it
  // committed. What fails before anything was received, it throws:
  // PostgresError, WalUnavailable, LockedError (another receiver is at work).
  // Later it throws RefusedForSafety and WalUnavailable alone, and what the
  // last flush failed with.
  void run(const std::stop_token& stop);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Ended { stopped, lost, timeline };
  struct SpoolFull {};  // received() goes on once there is room

  void store_what_is_left();
  void receive_until(const std::stop_token& stop);
  void attempt(const std::stop_token& stop);
  void open_spool(const WalServer& server, const std::stop_token& stop);
  [[nodiscard]] std::unique_ptr<WalSpool> take_spool(
      std::uint64_t segment_bytes, const std::stop_token& stop);
  void choose_run(PostgresConnection& connection, const WalServer& server,
                  const WalSlot& slot, const std::stop_token& stop);
  void begin_run_after_gap(const WalServer& server, const WalSlot& slot,
                           const std::vector<TimelineEnd>& ends);
  void follow_history(const WalServer& server,
                      const std::vector<TimelineEnd>& ends);
  void require_not_behind(const WalServer& server) const;

  Ended stream(PostgresConnection& connection, const std::stop_token& stop);
  Ended receive(PostgresConnection& connection, const std::stop_token& stop);
  void begin_next_timeline(PostgresConnection& connection,
                           const PostgresResult::Row& next,
                           const std::stop_token& stop);
  void take(const WalData& data);
  void sync_and_tell(PostgresConnection& connection, Reply reply);
  void warn_of_lag();
  void require_room();
  void wait_for_room(const std::stop_token& stop);
  void wait(std::chrono::milliseconds time, const std::stop_token& stop);
  void tell_once(const std::string& what);

  const WalReceiverOptions options_;
  Connect connect_;
  std::optional<repo::Repository> repository_;  // until the drain has it
  WalDrain::OpenRepository open_;
  TakeFlushRequest take_flush_request_;
  WalEvents& events_;

  WalCluster cluster_;
  std::unique_ptr<WalSpool> spool_;
  std::shared_ptr<WalRun> run_;
  std::optional<WalDrain> drain_;  // uses the spool
  bool has_received_ = false;      // something, since the start
  bool has_slot_ = false;          // it was there or made, since the start
  bool has_gap_ = false;           // the server has not what comes next
  std::optional<std::uint64_t> most_kept_;
  bool is_warned_of_lag_ = false;
  std::chrono::milliseconds backoff_{0};
  std::string told_;

  // Of one stream:
  Lsn expected_;    // the next byte that the server sends
  Lsn server_end_;  // how far its WAL goes
  Clock::time_point last_sync_;
  Clock::time_point last_status_;
};

}  // namespace cairn::ingest
