// Whether a server is set up so that its WAL can be had: what it says of
// itself, and a segment that it is made to finish.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/postgres_connection.h"
#include "ingest/wal_name.h"
#include "ingest/wal_server.h"

namespace cairn::ingest {

struct CheckFinding {
  enum class Verdict { ok, warning, failed, skipped };

  std::string name;  // "wal_level"
  Verdict verdict = Verdict::ok;
  std::string text;    // what was found
  std::string advice;  // what to do; empty: nothing
};

// By which ways the server gives its WAL away.
struct WalWays {
  // Somebody receives by the slot now; all before that place is acknowledged.
  bool has_receiver = false;
  std::optional<Lsn> acknowledged;
  // archive_mode, and whether archive_command calls `cairn pg wal-push`.
  bool is_archiving = false;
  bool archives_to_us = false;
};

// Threads        one thread at a time.
// Failure        PostgresError where the connection is lost; what the server
//                refuses is a finding.
class WalSourceCheck {
 public:
  // Borrows the connection, of Mode::ordinary.
  WalSourceCheck(PostgresConnection& connection, std::string slot);

  // Version, role, settings, archiving, slot.
  [[nodiscard]] std::vector<CheckFinding> look(const std::stop_token& stop);
  // As it is by now.
  [[nodiscard]] WalWays ways(const std::stop_token& stop);

  // Has the server write something, and finish the segment with it. Nothing,
  // and a finding that says why: it will not.
  struct Switched {
    std::optional<std::string> segment;  // its name
    CheckFinding finding;
  };
  [[nodiscard]] Switched switch_segment(const std::stop_token& stop);

  // The last one for which archive_command ended with 0.
  [[nodiscard]] std::optional<std::string> last_archived(
      const std::stop_token& stop);

 private:
  [[nodiscard]] CheckFinding look_at_version() const;
  [[nodiscard]] CheckFinding look_at_role(const std::stop_token& stop);
  [[nodiscard]] CheckFinding look_at_wal_level(const std::stop_token& stop);
  [[nodiscard]] CheckFinding look_at_senders(const std::stop_token& stop);
  [[nodiscard]] CheckFinding look_at_archiving(const std::stop_token& stop);
  [[nodiscard]] std::string archive_library(const std::stop_token& stop);
  [[nodiscard]] CheckFinding look_at_slot(const std::stop_token& stop);
  [[nodiscard]] CheckFinding look_at_disk_guard(const std::stop_token& stop);

  PostgresConnection& connection_;
  const std::string slot_;
};

}  // namespace cairn::ingest
