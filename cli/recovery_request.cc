#include "cli/recovery_request.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "cli/quantity.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

using ingest::RecoveryTarget;
using Kind = RecoveryTarget::Kind;

constexpr std::string_view kLatest = "latest";
constexpr std::uint64_t kMost32 = UINT32_MAX;

RecoveryTarget target_at(std::string_view text) {
  RecoveryTarget target;
  if (text == kLatest) return target;
  target.kind = Kind::time;
  if (const auto time = parse_time(text, Zone::required)) {
    if (const auto moment = ingest::to_wal_time(*time)) {
      target.time = *moment;
      return target;
    }
  }
  if (parse_time(text, Zone::local)) {
    throw UsageError("'" + std::string(text) +
                     "' has no time zone: write Z for UTC, or an offset such "
                     "as +01:00, behind it");
  }
  throw UsageError("'" + std::string(text) +
                   "' is no time such as 2026-11-27T08:01:02Z or '2026-11-27 "
                   "08:01:02.123456+00', as 'select now()' prints it, nor "
                   "'latest'");
}

RecoveryTarget target_lsn(std::string_view text) {
  const auto lsn = ingest::parse_lsn(text);
  if (!lsn) {
    throw UsageError("'" + std::string(text) +
                     "' is no place in WAL such as 16/B374D848");
  }
  RecoveryTarget target;
  target.kind = Kind::lsn;
  target.lsn = *lsn;
  return target;
}

RecoveryTarget target_xid(std::string_view text) {
  constexpr std::uint32_t kFirstNormal = 3;
  RecoveryTarget target;
  target.kind = Kind::transaction;
  // As txid_current() says it, with an epoch above the 32 bits that WAL has.
  target.transaction =
      static_cast<std::uint32_t>(parse_count(text, UINT64_MAX) & kMost32);
  if (target.transaction < kFirstNormal) {
    throw UsageError("'" + std::string(text) + "' is no transaction's number");
  }
  return target;
}

RecoveryTarget target_name(std::string_view text) {
  constexpr std::size_t kMostBytes = 63;  // the server keeps no more
  const bool has_control = std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (text.empty() || text.size() > kMostBytes || has_control) {
    throw UsageError("a restore point's name has 1 to 63 bytes, on one line");
  }
  RecoveryTarget target;
  target.kind = Kind::name;
  target.name = text;
  return target;
}

void set_target(RecoveryRequest& request, RecoveryTarget target) {
  if (request.target) {
    throw UsageError(
        "one target is enough: --at, --target-lsn, --target-xid, --target-name "
        "or --immediate");
  }
  request.target = std::move(target);
}

}  // namespace

void RecoveryRequest::settle() {
  if (!is_immediate) return;
  RecoveryTarget immediate;
  immediate.kind = Kind::immediate;
  set_target(*this, immediate);
}

std::optional<std::string> RecoveryRequest::flag_without_target() const {
  if (names_timeline) return "--timeline";
  if (delivery) return "--wal";
  if (!sql.empty()) return "--verify-sql";
  if (database) return "--verify-db";
  return std::nullopt;
}

void declare_recovery(Flags& flags, RecoveryRequest& request) {
  flags.value(
      "--at", "TIME|latest",
      [&request](std::string_view text) {
        set_target(request, target_at(text));
      },
      "a PostgreSQL cluster at that moment, what committed then included; with "
      "a time zone");
  flags.value(
      "--target-lsn", "LSN",
      [&request](std::string_view text) {
        set_target(request, target_lsn(text));
      },
      "at that place in WAL");
  flags.value(
      "--target-xid", "XID",
      [&request](std::string_view text) {
        set_target(request, target_xid(text));
      },
      "after that transaction's end");
  flags.value(
      "--target-name", "NAME",
      [&request](std::string_view text) {
        set_target(request, target_name(text));
      },
      "at a restore point, made with pg_create_restore_point()");
  flags.flag("--immediate", request.is_immediate,
             "at the end of the newest base backup, with no WAL behind it");
  flags.value(
      "--timeline", "N|latest",
      [&request](std::string_view text) {
        request.names_timeline = true;
        request.timeline.reset();
        if (text == kLatest) return;
        request.timeline =
            static_cast<std::uint32_t>(parse_count(text, kMost32));
      },
      "which timeline to go to (default: latest)");
  flags.value(
      "--wal", "copy|fetch",
      [&request](std::string_view text) {
        if (text != "copy" && text != "fetch") {
          throw UsageError("'" + std::string(text) +
                           "' is neither copy nor fetch");
        }
        request.delivery =
            text == "copy" ? WalDelivery::copy : WalDelivery::fetch;
      },
      "WAL into DIR/cairn_wal, or fetched by the server with 'cairn pg "
      "wal-fetch' (default: copy)");
  flags.values("--verify-sql", "SQL|FILE", request.sql,
               "with --verify: a query that must answer a row, and not false; "
               "may be repeated");
  flags.value("--verify-db", "NAME", request.database,
              "the database to ask that (default: postgres)");
}

}  // namespace cairn::cli
