// Which cluster answers, and the slot by which it keeps WAL for us.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/postgres_connection.h"
#include "ingest/wal_name.h"

namespace cairn::ingest {

// The server answers and WAL can still not be had before somebody changes
// something there.
struct WalUnavailable : ProducerFailed {
  using ProducerFailed::ProducerFailed;
};

struct WalServer {
  std::uint64_t system = 0;
  std::uint32_t timeline = 0;
  Lsn end;  // of the WAL that it has flushed, or received as a standby
  std::uint64_t segment_bytes = 0;
  std::string version;
  bool is_standby = false;
  // Newer than any that this program was tested with.
  bool is_unknown_version = false;
};

// Requires: Mode::replication. Throws PostgresError; WalUnavailable where
// wal_level is too low, or the server older than PostgreSQL 13.
[[nodiscard]] WalServer identify_wal_server(PostgresConnection& connection,
                                            const std::stop_token& stop);

struct WalSlot {
  enum class Origin { was_there, made };

  Origin origin = Origin::was_there;
  std::optional<Lsn> restart;  // the server keeps all from there on
  // How much it keeps for a slot at most; nothing: it may fill its disk.
  std::optional<std::uint64_t> most_kept;
  std::vector<std::string> warnings;
};

// Makes it where it does not exist; it keeps WAL from then on. Throws
// WalUnavailable, with what to do, for one that has lost WAL or is no physical
// one.
[[nodiscard]] WalSlot ensure_wal_slot(PostgresConnection& connection,
                                      const std::string& name,
                                      const std::stop_token& stop);

// The content of the file; nothing: the server has none of that timeline.
[[nodiscard]] std::optional<std::string> read_timeline_history(
    PostgresConnection& connection, std::uint32_t timeline,
    const std::stop_token& stop);

// Connects in Mode::replication. Throws as PostgresConnection::connect() does,
// and WalUnavailable where it is wal_level = minimal that leaves no walsender.
[[nodiscard]] PostgresConnection connect_for_wal(
    PostgresConnection::Options options, const std::stop_token& stop);

// Lower-case letters, digits and "_", at most 63.
[[nodiscard]] bool is_slot_name(std::string_view name) noexcept;

}  // namespace cairn::ingest
