// A PostgreSQL cluster as a tree: a physical base backup, taken by one ordinary
// connection, from a primary or a standby of version 13 to 18.
//
//   base/5/1259, global/pg_control, PG_VERSION, ..   the data directory
//   pg_tblspc/<oid>/..     tablespaces, wherever the server has them
//   pg_wal/..              the WAL that makes these files consistent
//   backup_label, backup_manifest                    as the server sent them
//   cairn_config/..        configuration that lies outside the data directory
//
// Every file is compared with the server's manifest while it streams by.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/postgres_archives.h"
#include "ingest/postgres_connection.h"
#include "ingest/tree_stream.h"

namespace cairn::ingest {

// What the server says of itself before a base backup is taken.
struct PostgresCluster {
  std::string place;    // of the server, for messages
  std::string version;  // "15.18 (Debian 15.18-0+deb12u1)"
  std::string system_identifier;
  std::uint32_t timeline = 0;
};

// Facts of the source, in the snapshot's record (FORMAT.md, 6.8.1).
namespace postgres_fact {
inline constexpr std::string_view kEndLsn = "end_lsn";
inline constexpr std::string_view kEndTime = "end_time";
inline constexpr std::string_view kPageChecksums = "page_checksums";
inline constexpr std::string_view kServerVersion = "server_version";
inline constexpr std::string_view kSource = "source";
inline constexpr std::string_view kStartLsn = "start_lsn";
inline constexpr std::string_view kSystemIdentifier = "system_identifier";
inline constexpr std::string_view kTablespace = "tablespace.";  // and the oid
inline constexpr std::string_view kTimeline = "timeline";
inline constexpr std::string_view kWal = "wal";
inline constexpr std::string_view kWalSegmentBytes = "wal_segment_bytes";
}  // namespace postgres_fact

// The folder in the tree that takes configuration from outside.
inline constexpr std::string_view kOutsideConfigFolder = "cairn_config";

// Threads        one thread at a time.
class PostgresBase : public TreeStream {
 public:
  // Asks the server who it is; the backup begins with the first next(). Throws
  // PostgresError, and ProducerFailed for a server that is too old.
  PostgresBase(PostgresConnection connection, BaseBackupCommand command,
               const std::stop_token& stop);
  ~PostgresBase() override;

  [[nodiscard]] const PostgresCluster& cluster() const noexcept;

  [[nodiscard]] std::optional<Member> next(
      const std::stop_token& stop) override;
  [[nodiscard]] std::size_t read(std::span<std::byte> out,
                                 const std::stop_token& stop) override;
  [[nodiscard]] std::uint64_t expected_bytes() const override;
  [[nodiscard]] Outcome finish(const std::stop_token& stop) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
