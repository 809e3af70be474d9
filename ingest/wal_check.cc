#include "ingest/wal_check.h"

#include <algorithm>
#include <utility>

#include "ingest/wal_protocol.h"

namespace cairn::ingest {
namespace {

using Verdict = CheckFinding::Verdict;
using Row = PostgresResult::Row;

constexpr int kOldestVersion = 13;
constexpr int kNewestVersion = 18;
constexpr std::string_view kOurCommand = "wal-push";
constexpr std::size_t kMostShown = 200;

std::string text_of(const Row& row, std::size_t column) {
  if (column >= row.size()) return {};
  std::string text = row[column].value_or("");
  text.resize(std::min(text.size(), kMostShown));
  return text;
}

bool is_true(const Row& row, std::size_t column) {
  return text_of(row, column) == "t";
}

std::string mib_text(std::uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

WalSourceCheck::WalSourceCheck(PostgresConnection& connection, std::string slot)
    : connection_(connection), slot_(std::move(slot)) {}

std::vector<CheckFinding> WalSourceCheck::look(const std::stop_token& stop) {
  std::vector<CheckFinding> findings;
  findings.push_back(look_at_version());
  findings.push_back(look_at_role(stop));
  findings.push_back(look_at_wal_level(stop));
  findings.push_back(look_at_senders(stop));
  findings.push_back(look_at_archiving(stop));
  findings.push_back(look_at_slot(stop));
  findings.push_back(look_at_disk_guard(stop));
  return findings;
}

CheckFinding WalSourceCheck::look_at_version() const {
  const int major = connection_.major_version();
  CheckFinding finding{"version", Verdict::ok,
                       "PostgreSQL " + std::to_string(major), ""};
  if (major < kOldestVersion) {
    finding.verdict = Verdict::failed;
    finding.advice = "13 is the oldest whose WAL and base backups can be had";
  } else if (major > kNewestVersion) {
    finding.verdict = Verdict::warning;
    finding.advice = "newer than this program was tested with: test a recovery";
  }
  return finding;
}

CheckFinding WalSourceCheck::look_at_role(const std::stop_token& stop) {
  const auto rows = connection_.query(
      "SELECT current_user, rolsuper, rolreplication FROM "
      "pg_catalog.pg_roles WHERE rolname = current_user",
      stop);
  CheckFinding finding{"role", Verdict::ok, "", ""};
  if (rows.empty()) return finding;
  const auto& row = rows.front();
  finding.text = "role " + text_of(row, 0) + " may replicate";
  if (is_true(row, 1)) {
    finding.text = "role " + text_of(row, 0) + " is a superuser";
    finding.verdict = Verdict::warning;
    finding.advice =
        "one with REPLICATION alone is enough; 'cairn pg setup "
        "--print' shows how";
  } else if (!is_true(row, 2)) {
    finding.text = "role " + text_of(row, 0) + " may not replicate";
    finding.verdict = Verdict::failed;
    finding.advice = "as a superuser: ALTER ROLE " +
                     connection_.identifier(text_of(row, 0)) + " REPLICATION";
  }
  return finding;
}

CheckFinding WalSourceCheck::look_at_wal_level(const std::stop_token& stop) {
  const auto level = connection_.value("SHOW wal_level", stop);
  if (level != "minimal") return {"wal_level", Verdict::ok, level, ""};
  return {"wal_level", Verdict::failed, level,
          "ALTER SYSTEM SET wal_level = replica, and max_wal_senders = 10 if "
          "it is 0; then restart the server"};
}

CheckFinding WalSourceCheck::look_at_senders(const std::stop_token& stop) {
  const auto most =
      parse_number(connection_.value("SHOW max_wal_senders", stop), 10)
          .value_or(0);
  const auto used =
      parse_number(connection_.value("SELECT count(*) FROM "
                                     "pg_catalog.pg_stat_replication",
                                     stop),
                   10)
          .value_or(0);
  CheckFinding finding{
      "max_wal_senders", Verdict::ok,
      std::to_string(used) + " of " + std::to_string(most) + " in use", ""};
  if (used >= most) {
    finding.verdict = Verdict::failed;
    finding.advice =
        "ALTER SYSTEM SET max_wal_senders = " + std::to_string(most + 5) +
        ", and restart the server: a receiver takes one, a base "
        "backup another";
  } else if (most - used < 2) {
    finding.verdict = Verdict::warning;
    finding.advice =
        "one is left: a base backup and a receiver that connects "
        "anew need one each";
  }
  return finding;
}

CheckFinding WalSourceCheck::look_at_archiving(const std::stop_token& stop) {
  const auto mode = connection_.value("SHOW archive_mode", stop);
  if (mode == "off") {
    return {"archive_mode", Verdict::skipped,
            "off: WAL is to come by the slot alone", ""};
  }
  if (const auto library = archive_library(stop); !library.empty()) {
    return {
        "archive_mode", Verdict::warning,
        mode + ", by archive_library " + library,
        "archive_command is not called; archive_library = '' has it called"};
  }
  const auto command = connection_.value("SHOW archive_command", stop);
  const auto rows = connection_.query(
      "SELECT archived_count, failed_count, last_archived_wal, "
      "last_failed_wal, coalesce(last_failed_time > last_archived_time, "
      "last_failed_time IS NOT NULL) FROM pg_catalog.pg_stat_archiver",
      stop);
  CheckFinding finding{"archive_mode", Verdict::ok, mode, ""};
  if (command.empty() || command == "(disabled)") {
    finding.verdict = Verdict::failed;
    finding.text += ", without a command: the server keeps all its WAL";
    finding.advice =
        "set archive_command, or archive_mode = off; 'cairn pg "
        "setup --print' shows both";
    return finding;
  }
  if (command.find(kOurCommand) == std::string::npos) {
    finding.verdict = Verdict::warning;
    finding.advice =
        "archive_command does not call 'cairn pg wal-push': what "
        "it does is not looked at";
    return finding;
  }
  if (rows.empty()) return finding;
  const auto& row = rows.front();
  finding.text += ", " + text_of(row, 0) + " archived, the last " +
                  (row[2] ? text_of(row, 2) : std::string("never"));
  if (is_true(row, 4)) {
    finding.verdict = Verdict::failed;
    finding.text += "; " + text_of(row, 3) + " failed since";
    finding.advice =
        "the server's log says why: what 'cairn pg wal-push' "
        "writes stands there";
  }
  return finding;
}

// Which archives in the place of a command.
std::string WalSourceCheck::archive_library(const std::stop_token& stop) {
  constexpr int kSince = 15;
  if (connection_.major_version() < kSince) return {};
  return connection_.value("SHOW archive_library", stop);
}

CheckFinding WalSourceCheck::look_at_slot(const std::stop_token& stop) {
  const auto rows = connection_.query(
      "SELECT slot_type, active, wal_status, restart_lsn, CASE WHEN "
      "pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()"
      " ELSE pg_catalog.pg_current_wal_lsn() END FROM "
      "pg_catalog.pg_replication_slots WHERE slot_name = " +
          connection_.literal(slot_),
      stop);
  const auto ways_now = ways(stop);
  CheckFinding finding{"slot", Verdict::ok, slot_, ""};
  if (rows.empty()) {
    finding.text += " does not exist";
    finding.verdict =
        ways_now.archives_to_us ? Verdict::skipped : Verdict::failed;
    if (finding.verdict == Verdict::failed) {
      finding.advice =
          "start 'cairn pg wal-receive', which makes it, or have "
          "archive_command call 'cairn pg wal-push'; --slot names "
          "another one";
    }
    return finding;
  }
  const auto& row = rows.front();
  const auto status = text_of(row, 2);
  if (text_of(row, 0) != "physical") {
    return {"slot", Verdict::failed, slot_ + " is a logical one",
            "--slot names a physical one"};
  }
  if (status == "lost") {
    return {"slot", Verdict::failed, slot_ + " has lost WAL",
            "SELECT pg_drop_replication_slot(" + connection_.literal(slot_) +
                "), start 'cairn pg wal-receive' anew and take a base backup"};
  }
  const auto restart = parse_lsn(text_of(row, 3));
  const auto end = parse_lsn(text_of(row, 4));
  if (restart && end && *restart <= *end) {
    finding.text += " is " + mib_text(end->value - restart->value) +
                    " behind (" + (status.empty() ? "unknown" : status) + ")";
  }
  if (!is_true(row, 1)) {
    finding.text += ", and nobody receives by it";
    finding.verdict =
        ways_now.archives_to_us ? Verdict::warning : Verdict::failed;
    finding.advice =
        "start 'cairn pg wal-receive'; or, if this way is given "
        "up, drop the slot: SELECT pg_drop_replication_slot(" +
        connection_.literal(slot_) +
        "). As long as it is there the server keeps WAL for it";
  } else if (status == "unreserved") {
    finding.verdict = Verdict::warning;
    finding.advice =
        "it is about to lose WAL: raise max_slot_wal_keep_size, "
        "or find out why the receiver is so slow";
  }
  return finding;
}

CheckFinding WalSourceCheck::look_at_disk_guard(const std::stop_token& stop) {
  const auto most = connection_.value("SHOW max_slot_wal_keep_size", stop);
  if (most != "-1") {
    return {"max_slot_wal_keep_size", Verdict::ok, most, ""};
  }
  const bool has_slot =
      connection_.value("SELECT count(*) FROM pg_catalog.pg_replication_slots",
                        stop) != "0";
  return {
      "max_slot_wal_keep_size", has_slot ? Verdict::warning : Verdict::skipped,
      "-1: while nobody receives, the server keeps WAL until its disk is "
      "full",
      has_slot ? "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', or what "
                 "its disk has to spare, and SELECT pg_reload_conf()"
               : ""};
}

WalWays WalSourceCheck::ways(const std::stop_token& stop) {
  WalWays ways;
  const auto rows = connection_.query(
      "SELECT s.active, s.restart_lsn FROM pg_catalog.pg_replication_slots s "
      "WHERE s.slot_name = " +
          connection_.literal(slot_),
      stop);
  if (!rows.empty()) {
    ways.has_receiver = is_true(rows.front(), 0);
    ways.acknowledged = parse_lsn(text_of(rows.front(), 1));
  }
  ways.is_archiving = connection_.value("SHOW archive_mode", stop) != "off";
  ways.archives_to_us =
      ways.is_archiving && archive_library(stop).empty() &&
      connection_.value("SHOW archive_command", stop).find(kOurCommand) !=
          std::string::npos;
  return ways;
}

WalSourceCheck::Switched WalSourceCheck::switch_segment(
    const std::stop_token& stop) {
  CheckFinding finding{"switch", Verdict::ok, "", ""};
  const auto rows = connection_.query(
      "SELECT pg_catalog.pg_is_in_recovery(), "
      "pg_catalog.has_function_privilege('pg_catalog.pg_switch_wal()', "
      "'execute'), current_user",
      stop);
  if (rows.empty()) return {std::nullopt, finding};
  if (is_true(rows.front(), 0)) {
    return {
        std::nullopt,
        {"switch", Verdict::skipped, "a standby finishes no segment by itself",
         "give the DSN of the primary to have a segment followed"}};
  }
  if (!is_true(rows.front(), 1)) {
    return {std::nullopt,
            {"switch", Verdict::failed,
             "the role may not have the server finish a segment",
             "as a superuser: GRANT EXECUTE ON FUNCTION "
             "pg_catalog.pg_switch_wal() TO " +
                 connection_.identifier(text_of(rows.front(), 2)) +
                 "; or leave that out by --no-switch"}};
  }
  // Without anything new in it a segment is not finished. A transaction with a
  // number leaves a record of its commit.
  (void)connection_.value("SELECT pg_catalog.txid_current()", stop);
  const auto segment = connection_.value(
      "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())", stop);
  finding.text = "the server finished " + segment;
  return {segment, finding};
}

std::optional<std::string> WalSourceCheck::last_archived(
    const std::stop_token& stop) {
  const auto rows = connection_.query(
      "SELECT last_archived_wal FROM pg_catalog.pg_stat_archiver", stop);
  if (rows.empty() || rows.front().empty()) return std::nullopt;
  return rows.front().front();
}

}  // namespace cairn::ingest
