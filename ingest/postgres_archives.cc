#include "ingest/postgres_archives.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "ingest/postgres_manifest.h"

namespace cairn::ingest {
namespace {

constexpr int kFirstWithMessages = 15;
constexpr std::string_view kDataCorrupted = "XX001";

[[noreturn]] void fail(const std::string& why) {
  throw ProducerFailed("PostgreSQL: the base backup " + why);
}

std::string command_text(const PostgresConnection& connection,
                         const BaseBackupCommand& command,
                         bool has_parentheses) {
  const auto label = connection.literal(command.label);
  const bool is_fast = command.checkpoint == Checkpoint::fast;
  if (has_parentheses) {
    std::string text = "BASE_BACKUP (LABEL " + label +
                       ", PROGRESS, CHECKPOINT " +
                       (is_fast ? "'fast'" : "'spread'") + ", WAL, WAIT false";
    if (command.max_rate_kib) {
      text += ", MAX_RATE " + std::to_string(*command.max_rate_kib);
    }
    return text + ", MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')";
  }
  std::string text = "BASE_BACKUP LABEL " + label + " PROGRESS";
  if (is_fast) text += " FAST";
  text += " WAL NOWAIT";
  if (command.max_rate_kib) {
    text += " MAX_RATE " + std::to_string(*command.max_rate_kib);
  }
  return text + " MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'";
}

template <typename Number>
Number number(const std::optional<std::string>& text) {
  Number value{};
  if (text) {
    const auto* const end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, value);
    if (!text->empty() && error == std::errc{} && stop == end) return value;
  }
  fail("has an answer that is no number");
}

PostgresResult rows_of(PostgresConnection& connection, std::size_t columns,
                       const std::stop_token& stop) {
  auto result = connection.next_result(stop);
  if (!result || result->kind != PostgresResult::Kind::rows ||
      result->columns.size() < columns) {
    fail("was answered in another way than known ones");
  }
  return std::move(*result);
}

WalPosition position_of(const PostgresResult& result) {
  if (result.rows.size() != 1 || !result.rows[0][0]) {
    fail("names no place in WAL");
  }
  return {lsn_in(*result.rows[0][0]), number<std::uint32_t>(result.rows[0][1])};
}

bool is_oid(std::string_view text) {
  constexpr std::size_t kMaxDigits = 10;
  return !text.empty() && text.size() <= kMaxDigits &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

PostgresArchives::PostgresArchives(PostgresConnection& connection,
                                   const BaseBackupCommand& command,
                                   const std::stop_token& stop)
    : connection_(connection),
      has_messages_(connection.major_version() >= kFirstWithMessages) {
  connection_.send(command_text(connection_, command, has_messages_), stop);
  start_ = position_of(rows_of(connection_, 2, stop));
  const auto listed = rows_of(connection_, 3, stop);
  constexpr std::uint64_t kKib = 1024;
  for (const auto& row : listed.rows) {
    Tablespace tablespace{row[0].value_or(""), row[1].value_or(""), {}};
    if (row[0] && !is_oid(*row[0])) fail("lists a tablespace without a number");
    if (row[2]) tablespace.bytes = number<std::uint64_t>(row[2]) * kKib;
    tablespaces_.push_back(std::move(tablespace));
  }
  if (std::ranges::count(tablespaces_, "", &Tablespace::oid) != 1) {
    fail("does not list the data directory");
  }
}

std::optional<PostgresArchives::Part> PostgresArchives::next(
    const std::stop_token& stop) {
  while (is_in_part_) (void)bytes(stop);
  if (is_over_) return std::nullopt;
  const auto part = has_messages_ ? next_message(stop) : next_copy(stop);
  is_in_part_ = part.has_value();
  is_over_ = !part;
  return part;
}

// The archives in the order of the list, then the manifest.
std::optional<PostgresArchives::Part> PostgresArchives::next_copy(
    const std::stop_token& stop) {
  if (copies_ > tablespaces_.size()) return std::nullopt;
  require_copy(stop);
  const std::size_t place = copies_++;
  if (place == tablespaces_.size()) return Part{Part::Kind::manifest, nullptr};
  return Part{Part::Kind::archive, &tablespaces_[place]};
}

std::optional<PostgresArchives::Part> PostgresArchives::next_message(
    const std::stop_token& stop) {
  if (copies_ == 0) {
    require_copy(stop);
    ++copies_;
    is_in_part_ = true;
    if (!bytes(stop).empty()) fail("sends bytes of no archive");
  }
  return std::exchange(begun_, std::nullopt);
}

void PostgresArchives::require_copy(const std::stop_token& stop) {
  if (copies_ == 0) result_ = connection_.next_result(stop);
  if (!result_ || result_->kind != PostgresResult::Kind::copy_out) {
    fail("was answered in another way than known ones");
  }
}

std::span<const std::byte> PostgresArchives::bytes(
    const std::stop_token& stop) {
  using Received = PostgresConnection::Received;
  while (is_in_part_) {
    const auto received = connection_.receive(stop);
    if (received.kind == Received::Kind::ended) {
      is_in_part_ = false;
      // At once, since it may be why this has ended too early.
      result_ = connection_.next_result(stop);
      break;
    }
    if (!has_messages_) return received.message;
    const auto rest = received.message.subspan(1);
    switch (static_cast<char>(received.message[0])) {
      case 'd':
        if (rest.empty()) continue;
        return rest;
      case 'n': {
        const std::string_view text(reinterpret_cast<const char*>(rest.data()),
                                    rest.size());
        begun_ = Part{Part::Kind::archive,
                      &tablespace_of(text.substr(0, text.find('\0')))};
        is_in_part_ = false;
        break;
      }
      case 'm':
        begun_ = Part{Part::Kind::manifest, nullptr};
        is_in_part_ = false;
        break;
      case 'p':
        continue;  // we count ourselves
      default:
        fail("sends a kind of message that this program does not know");
    }
  }
  return {};
}

// "16384.tar", "base.tar"
const Tablespace& PostgresArchives::tablespace_of(
    std::string_view archive) const {
  constexpr std::string_view kEnding = ".tar";
  if (archive.ends_with(kEnding)) {
    archive.remove_suffix(kEnding.size());
    const auto oid = archive == "base" ? std::string_view() : archive;
    const auto found = std::ranges::find(tablespaces_, oid, &Tablespace::oid);
    if (found != tablespaces_.end()) return *found;
  }
  fail("sends an archive of no tablespace that it listed");
}

PostgresArchives::End PostgresArchives::finish(const std::stop_token& stop) {
  if (!result_ || result_->kind != PostgresResult::Kind::rows) {
    fail("ends before all was sent");
  }
  End end{position_of(*result_), std::nullopt};
  for (;;) {
    try {
      if (!connection_.next_result(stop)) return end;
    } catch (const PostgresError& e) {
      if (e.sqlstate() != kDataCorrupted || e.has_lost_connection()) throw;
      end.damage = e.what();
    }
  }
}

}  // namespace cairn::ingest
