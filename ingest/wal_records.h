// The records of WAL, read from its bytes (PostgreSQL source, xlogrecord.h and
// xlog_internal.h), and what they say of time: which moments lie where, and
// where a server that recovers will stop.
//
//   page:     header | rest of a record | record | record | beginning of one ..
//   record:   length, transaction, manager, CRC | parts | data
//
// Versions 13 to 18 write them alike. Whoever wrote the bytes may have meant
// harm: no length is believed before it is bounded, and of a record at most
// kMaxBody bytes are kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/lsn.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct WalRecord {
  Lsn begin;
  Lsn next;  // where the server looks for the one behind it
  std::uint32_t transaction = 0;
  std::uint8_t manager = 0;
  std::uint8_t info = 0;
  // Of managers whose records are told apart here, the beginning of what is
  // behind its head; until the next call.
  std::span<const std::byte> body;
};

// Goes from one record to the next as a server does that recovers, and ends
// where that would: at bytes that are no whole record with the right CRC,
// behind the one before it.
//
// Threads        one thread at a time.
// Memory         a window of WAL, and kMaxBody.
class WalRecords {
 public:
  // As many bytes from there on as there are, at most as many as fit; fewer
  // only where they end.
  using Read = std::function<std::size_t(Lsn at, std::span<std::byte> out)>;

  static constexpr std::size_t kMaxBody = std::size_t{64} << 10;

  // Begins with the record that begins at `from` or, where that is the first
  // byte of a page, with the first one that begins in or behind that page. A
  // whole segment without any is passed over until the first was found.
  WalRecords(Read read, Lsn from, std::uint64_t segment_bytes);

  // Nothing: here it ends, and position() tells where. What `read` throws goes
  // through.
  [[nodiscard]] std::optional<WalRecord> next();

  // Where the record would begin that next() has not answered.
  [[nodiscard]] Lsn position() const noexcept { return position_; }
  // Of the last one that it answered.
  [[nodiscard]] std::optional<Lsn> last() const noexcept { return last_; }

 private:
  enum class Outcome { whole, none, begun_anew };
  struct Page {
    std::uint16_t info = 0;
    std::uint32_t rest = 0;  // of a record that began before it
    std::size_t header = 0;  // bytes of it
  };
  [[nodiscard]] std::span<const std::byte> bytes(Lsn at, std::size_t most);
  [[nodiscard]] std::optional<Page> page_at(Lsn at);
  [[nodiscard]] bool find_first();
  [[nodiscard]] bool go_to_next_segment();
  [[nodiscard]] Outcome read_record(WalRecord& record);
  [[nodiscard]] Lsn page_begin(Lsn at) const noexcept {
    return {at.value / page_bytes_ * page_bytes_};
  }

  Read read_;
  const std::uint64_t segment_bytes_;
  std::uint64_t page_bytes_;
  Lsn position_;
  bool has_begun_ = false;
  std::optional<Lsn> last_;

  std::vector<std::byte> window_;  // [window_begin_, window_begin_ + size)
  Lsn window_begin_;
  std::size_t window_size_ = 0;
  std::vector<std::byte> body_;
};

// Microseconds since 2000-01-01 00:00 UTC, as PostgreSQL counts.
struct WalTime {
  // Further off no clock ever is; so differences fit.
  static constexpr std::int64_t kMost = std::int64_t{1} << 58;  // 9,134 years

  std::int64_t microseconds = 0;

  auto operator<=>(const WalTime&) const = default;
};
[[nodiscard]] repo::Timestamp to_timestamp(WalTime time);
// Nothing: beyond kMost. What is below a microsecond is left out.
[[nodiscard]] std::optional<WalTime> to_wal_time(const repo::Timestamp& time);

// What a record says that a recovery heeds.
struct WalEvent {
  enum class Kind {
    commit,         // of a transaction: a recovery can stop before it
    abort,          // likewise
    restore_point,  // pg_create_restore_point()
    clock,          // a checkpoint, or the end of a recovery: a time alone
    backup_end,     // of a base backup; `start` says of which
    create_tablespace,
  };
  Kind kind = Kind::clock;
  std::optional<WalTime> time;
  std::uint32_t transaction = 0;  // of commit and abort; 0: it cannot be told
  std::string text;  // name of a restore point, place of a tablespace
  Lsn start;
};

// Nothing: it is none of those.
[[nodiscard]] std::optional<WalEvent> event_of(const WalRecord& record);

}  // namespace cairn::ingest
