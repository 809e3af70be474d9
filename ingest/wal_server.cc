#include "ingest/wal_server.h"

#include <algorithm>

#include "ingest/wal_protocol.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kUndefinedFile = "58P01";
constexpr std::string_view kDuplicateObject = "42710";
constexpr std::string_view kTooManyConnections = "53300";
constexpr std::string_view kMinimalWal =
    "wal_level is minimal, with which nothing can be recovered from WAL; set "
    "wal_level = replica and max_wal_senders = 10, and restart the server";
constexpr int kOldestVersion = 13;
constexpr int kNewestVersion = 18;
constexpr int kReadReplicationSlotSince = 15;

using Row = PostgresResult::Row;

[[noreturn]] void refuse_answer(std::string_view command) {
  throw PostgresError("PostgreSQL: '" + std::string(command) +
                          "' was answered with something else",
                      "", PostgresError::Connection::lost);
}

std::string text(const Row& row, std::size_t column, std::string_view command) {
  if (column >= row.size() || !row[column]) refuse_answer(command);
  return *row[column];
}

std::optional<Lsn> optional_lsn(const Row& row, std::size_t column) {
  if (column >= row.size() || !row[column]) return std::nullopt;
  return parse_lsn(*row[column]);
}

// It goes into records and files of ours, whatever the server says.
std::string plain_text(std::string text) {
  constexpr std::size_t kMost = 200;
  text.resize(std::min(text.size(), kMost));
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// Nothing: there is no such slot.
std::optional<Row> find_slot(PostgresConnection& connection,
                             const std::string& name,
                             const std::stop_token& stop) {
  const auto rows = connection.query(
      "SELECT slot_type, restart_lsn, wal_status FROM "
      "pg_catalog.pg_replication_slots WHERE slot_name = " +
          connection.literal(name),
      stop);
  if (rows.empty()) return std::nullopt;
  return rows.front();
}

void create_slot(PostgresConnection& connection, const std::string& name,
                 const std::stop_token& stop) {
  // The old spelling, which newer servers take too.
  (void)connection.query("CREATE_REPLICATION_SLOT " +
                             connection.identifier(name) +
                             " PHYSICAL RESERVE_WAL",
                         stop);
}

WalSlot ensure_by_sql(PostgresConnection& connection, const std::string& name,
                      const std::stop_token& stop) {
  WalSlot slot;
  auto row = find_slot(connection, name, stop);
  if (!row) {
    create_slot(connection, name, stop);
    slot.origin = WalSlot::Origin::made;
    row = find_slot(connection, name, stop);
    if (!row) refuse_answer("CREATE_REPLICATION_SLOT");
  }
  if (text(*row, 0, "pg_replication_slots") != "physical") {
    throw WalUnavailable("the replication slot " + name +
                         " is a logical one, and WAL needs a physical one; "
                         "--slot names another");
  }
  slot.restart = optional_lsn(*row, 1);
  const std::string status = row->size() > 2 ? row->at(2).value_or("") : "";
  if (status == "lost") {
    throw WalUnavailable(
        "the replication slot " + name +
        " has lost WAL: it was further behind than max_slot_wal_keep_size "
        "allows. Drop it (SELECT pg_drop_replication_slot('" +
        name +
        "')), start this again, which makes a new one, and take a base backup: "
        "no moment before that and after the last WAL that is stored can be "
        "recovered");
  }
  if (status == "unreserved") {
    slot.warnings.push_back("the replication slot " + name +
                            " is about to lose WAL: it is further behind than "
                            "max_slot_wal_keep_size allows");
  }
  return slot;
}

// A walsender without a database answers no SQL.
WalSlot ensure_without_sql(PostgresConnection& connection,
                           const std::string& name,
                           const std::stop_token& stop) {
  WalSlot slot;
  try {
    create_slot(connection, name, stop);
    slot.origin = WalSlot::Origin::made;
  } catch (const PostgresError& e) {
    if (e.sqlstate() != kDuplicateObject) throw;
  }
  if (connection.major_version() >= kReadReplicationSlotSince) {
    const auto rows = connection.query(
        "READ_REPLICATION_SLOT " + connection.identifier(name), stop);
    if (!rows.empty()) slot.restart = optional_lsn(rows.front(), 1);
  }
  return slot;
}

}  // namespace

WalServer identify_wal_server(PostgresConnection& connection,
                              const std::stop_token& stop) {
  constexpr std::string_view kIdentify = "IDENTIFY_SYSTEM";
  if (connection.major_version() < kOldestVersion) {
    throw WalUnavailable("the server is of PostgreSQL " +
                         std::to_string(connection.major_version()) +
                         "; 13 is the oldest whose WAL can be received");
  }
  const auto rows = connection.query(kIdentify, stop);
  if (rows.size() != 1) refuse_answer(kIdentify);
  const auto system = parse_number(text(rows[0], 0, kIdentify), 10);
  const auto timeline = parse_number(text(rows[0], 1, kIdentify), 10);
  const auto end = parse_lsn(text(rows[0], 2, kIdentify));
  if (!system || !timeline || *timeline == 0 || *timeline > UINT32_MAX ||
      !end) {
    refuse_answer(kIdentify);
  }
  WalServer server;
  server.system = *system;
  server.timeline = static_cast<std::uint32_t>(*timeline);
  server.end = *end;
  server.segment_bytes =
      parse_setting_bytes(connection.value("SHOW wal_segment_size", stop));
  if (!is_segment_size(server.segment_bytes)) {
    refuse_answer("SHOW wal_segment_size");
  }
  if (connection.value("SHOW wal_level", stop) == "minimal") {
    throw WalUnavailable(std::string(kMinimalWal));
  }
  server.is_unknown_version = connection.major_version() > kNewestVersion;
  server.version = plain_text(connection.value("SHOW server_version", stop));
  server.is_standby =
      connection.has_sql() &&
      connection.value("SELECT pg_catalog.pg_is_in_recovery()", stop) == "t";
  return server;
}

WalSlot ensure_wal_slot(PostgresConnection& connection, const std::string& name,
                        const std::stop_token& stop) {
  WalSlot slot = connection.has_sql()
                     ? ensure_by_sql(connection, name, stop)
                     : ensure_without_sql(connection, name, stop);
  const auto most = connection.value("SHOW max_slot_wal_keep_size", stop);
  if (most != "-1") slot.most_kept = parse_setting_bytes(most);
  return slot;
}

std::optional<std::string> read_timeline_history(PostgresConnection& connection,
                                                 std::uint32_t timeline,
                                                 const std::stop_token& stop) {
  const std::string command = "TIMELINE_HISTORY " + std::to_string(timeline);
  try {
    const auto rows = connection.query(command, stop);
    if (rows.size() != 1) refuse_answer(command);
    return text(rows[0], 1, command);
  } catch (const PostgresError& e) {
    if (e.sqlstate() != kUndefinedFile || e.has_lost_connection()) throw;
  }
  return std::nullopt;
}

PostgresConnection connect_for_wal(PostgresConnection::Options options,
                                   const std::stop_token& stop) {
  options.mode = PostgresConnection::Mode::replication;
  try {
    return PostgresConnection::connect(options, stop);
  } catch (const PostgresError& e) {
    if (e.sqlstate() != kTooManyConnections) throw;
    options.mode = PostgresConnection::Mode::ordinary;
    try {
      auto ordinary = PostgresConnection::connect(options, stop);
      if (ordinary.value("SHOW wal_level", stop) != "minimal") throw e;
    } catch (const PostgresError&) {
      throw e;
    }
  }
  throw WalUnavailable(std::string(kMinimalWal));
}

bool is_slot_name(std::string_view name) noexcept {
  constexpr std::size_t kMost = 63;
  return !name.empty() && name.size() <= kMost &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

}  // namespace cairn::ingest
