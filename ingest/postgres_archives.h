// BASE_BACKUP as a row of archives and a manifest, whichever way the server
// says it: one COPY for each until version 14, one for all with messages of
// several kinds from 15 on (PostgreSQL manual, "Streaming Replication
// Protocol").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/lsn.h"
#include "ingest/postgres_connection.h"

namespace cairn::ingest {

enum class Checkpoint { fast, spread };

struct BaseBackupCommand {
  std::string label = "cairn";
  Checkpoint checkpoint = Checkpoint::fast;
  std::optional<unsigned> max_rate_kib;  // per second
};

struct Tablespace {
  std::string oid;                     // digits; empty: the data directory
  std::string location;                // where the server has it
  std::optional<std::uint64_t> bytes;  // as it estimates
};

struct WalPosition {
  Lsn lsn;
  std::uint32_t timeline = 0;
};

// Threads        one thread at a time.
// Failure        PostgresError, ProducerFailed, repo::Cancelled.
class PostgresArchives {
 public:
  // Sends the command and waits for the checkpoint. Borrows the connection.
  PostgresArchives(PostgresConnection& connection,
                   const BaseBackupCommand& command,
                   const std::stop_token& stop);

  [[nodiscard]] const WalPosition& start() const noexcept { return start_; }
  [[nodiscard]] const std::vector<Tablespace>& tablespaces() const noexcept {
    return tablespaces_;
  }

  struct Part {
    enum class Kind { archive, manifest };
    Kind kind = Kind::archive;
    const Tablespace* tablespace = nullptr;  // of an archive
  };

  // The next one; what was not read of the one before is passed over. Nothing:
  // that were all.
  [[nodiscard]] std::optional<Part> next(const std::stop_token& stop);

  // The next bytes of it, which stay until the next call; none at its end.
  [[nodiscard]] std::span<const std::byte> bytes(const std::stop_token& stop);

  struct End {
    WalPosition position;
    // The server found pages whose checksums do not fit, and sent them all the
    // same: its words.
    std::optional<std::string> damage;
  };

  // After the last part: reads on until the server has nothing more to say.
  [[nodiscard]] End finish(const std::stop_token& stop);

 private:
  [[nodiscard]] std::optional<Part> next_copy(const std::stop_token& stop);
  [[nodiscard]] std::optional<Part> next_message(const std::stop_token& stop);
  void require_copy(const std::stop_token& stop);
  [[nodiscard]] const Tablespace& tablespace_of(std::string_view archive) const;

  PostgresConnection& connection_;
  const bool has_messages_;  // of several kinds
  WalPosition start_;
  std::vector<Tablespace> tablespaces_;
  std::size_t copies_ = 0;  // begun so far
  bool is_in_part_ = false;
  std::optional<Part> begun_;             // met while the part before was read
  std::optional<PostgresResult> result_;  // that followed the last COPY
  bool is_over_ = false;
};

}  // namespace cairn::ingest
