#include "ingest/wal_records.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "ingest/crc32c.h"
#include "ingest/wal_name.h"
#include "repo/wire.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kWindowBytes = std::size_t{1} << 20;
constexpr std::uint64_t kUsualPageBytes = 8192;
constexpr std::uint64_t kAlignment = 8;

// XLogPageHeaderData, and XLogLongPageHeaderData of a segment's first page.
constexpr std::size_t kShortHeader = 24;
constexpr std::size_t kLongHeader = 40;
constexpr std::size_t kPageInfoAt = 2;
constexpr std::size_t kPageAddressAt = 8;
constexpr std::size_t kPageRestAt = 16;
constexpr std::size_t kPageBytesAt = 36;
constexpr std::uint16_t kMagicMask = 0xff00;
constexpr std::uint16_t kMagic = 0xd100;  // below: the version of WAL
constexpr std::uint16_t kGoesOn = 0x0001;
constexpr std::uint16_t kIsLong = 0x0002;
constexpr std::uint16_t kBeginsAnew = 0x0008;  // the record before is given up

// XLogRecord.
constexpr std::size_t kHead = 24;
constexpr std::size_t kTransactionAt = 4;
constexpr std::size_t kPreviousAt = 8;
constexpr std::size_t kInfoAt = 16;
constexpr std::size_t kManagerAt = 17;
constexpr std::size_t kCrcAt = 20;
constexpr std::uint32_t kMaxRecord = std::uint32_t{1} << 30;

constexpr std::uint8_t kXlogManager = 0;
constexpr std::uint8_t kTransactionManager = 1;
constexpr std::uint8_t kTablespaceManager = 5;

constexpr std::uint8_t kKindMask = 0xf0;
constexpr std::uint8_t kShutdownCheckpoint = 0x00;
constexpr std::uint8_t kOnlineCheckpoint = 0x10;
constexpr std::uint8_t kSwitch = 0x40;
constexpr std::uint8_t kBackupEnd = 0x50;
constexpr std::uint8_t kRestorePoint = 0x70;
constexpr std::uint8_t kEndOfRecovery = 0x90;

constexpr std::uint8_t kTransactionMask = 0x70;
constexpr std::uint8_t kCommit = 0x00;
constexpr std::uint8_t kAbort = 0x20;
constexpr std::uint8_t kCommitPrepared = 0x30;
constexpr std::uint8_t kAbortPrepared = 0x40;
constexpr std::uint8_t kHasInfo = 0x80;

constexpr std::uint8_t kCreateTablespace = 0x00;

constexpr std::int64_t kEpochSeconds = 946'684'800;  // of 2000-01-01
constexpr std::int64_t kMicroseconds = 1'000'000;

constexpr std::uint64_t aligned(std::uint64_t value) {
  return (value + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint16_t get_u16(std::span<const std::byte> in, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(in[at]) |
                                    std::to_integer<unsigned>(in[at + 1]) << 8);
}
std::uint32_t get_u32(std::span<const std::byte> in, std::size_t at) {
  return repo::wire::get_u32(in.subspan(at).first<4>());
}
std::uint64_t get_u64(std::span<const std::byte> in, std::size_t at) {
  return repo::wire::get_u64(in.subspan(at).first<8>());
}

bool is_told_apart(std::uint8_t manager) {
  return manager == kXlogManager || manager == kTransactionManager ||
         manager == kTablespaceManager;
}

bool is_switch(const WalRecord& record) {
  return record.manager == kXlogManager && (record.info & kKindMask) == kSwitch;
}

}  // namespace

WalRecords::WalRecords(Read read, Lsn from, std::uint64_t segment_bytes)
    : read_(std::move(read)),
      segment_bytes_(segment_bytes),
      page_bytes_(kUsualPageBytes),
      position_{aligned(from.value)},
      window_(kWindowBytes) {
  // A server may be built with pages of another size.
  std::array<std::byte, kLongHeader> head{};
  if (read_(segment_begin(from, segment_bytes_), head) == head.size() &&
      (get_u16(head, kPageInfoAt) & kIsLong) != 0) {
    const std::uint32_t bytes = get_u32(head, kPageBytesAt);
    constexpr std::uint32_t kLeast = 1U << 10;
    constexpr std::uint32_t kMost = 1U << 16;
    if (std::has_single_bit(bytes) && bytes >= kLeast && bytes <= kMost) {
      page_bytes_ = bytes;
    }
  }
}

// At least one, unless there is none; never beyond the page.
std::span<const std::byte> WalRecords::bytes(Lsn at, std::size_t most) {
  const bool is_at_hand =
      at >= window_begin_ && at.value - window_begin_.value < window_size_;
  if (!is_at_hand) {
    window_begin_ = page_begin(at);
    window_size_ = read_(window_begin_, window_);
    if (at.value - window_begin_.value >= window_size_) return {};
  }
  const auto within = static_cast<std::size_t>(at.value - window_begin_.value);
  const auto left =
      static_cast<std::size_t>(page_begin(at).value + page_bytes_ - at.value);
  return std::span(window_).subspan(
      within, std::min({most, window_size_ - within, left}));
}

// Requires: `at` is where a page begins. Nothing: no page is there.
std::optional<WalRecords::Page> WalRecords::page_at(Lsn at) {
  const bool is_first = at.value % segment_bytes_ == 0;
  const std::size_t size = is_first ? kLongHeader : kShortHeader;
  const auto head = bytes(at, size);
  if (head.size() < size) return std::nullopt;
  const std::uint16_t info = get_u16(head, kPageInfoAt);
  if ((get_u16(head, 0) & kMagicMask) != kMagic ||
      get_u64(head, kPageAddressAt) != at.value ||
      is_first != ((info & kIsLong) != 0)) {
    return std::nullopt;
  }
  return Page{info, get_u32(head, kPageRestAt), size};
}

// From the beginning of a page to that of a record.
bool WalRecords::find_first() {
  while (position_.value % page_bytes_ == 0) {
    const auto page = page_at(position_);
    if (!page) return false;
    const std::uint64_t rest =
        (page->info & kGoesOn) != 0 ? aligned(page->rest) : 0;
    const std::uint64_t room = page_bytes_ - page->header;
    if (rest >= room) {
      position_.value += page_bytes_;
    } else {
      position_.value += page->header + rest;
    }
  }
  return true;
}

std::optional<WalRecord> WalRecords::next() {
  bool is_found = has_begun_ || find_first();
  for (;;) {
    WalRecord record;
    switch (is_found ? read_record(record) : Outcome::none) {
      case Outcome::none:
        // Behind a switch to the next segment nothing is in the pages.
        if (has_begun_ || !go_to_next_segment()) return std::nullopt;
        is_found = find_first();
        continue;
      case Outcome::begun_anew:
        continue;
      case Outcome::whole:
        has_begun_ = true;
        last_ = record.begin;
        position_ = record.next;
        return record;
    }
  }
}

// False: nothing is there.
bool WalRecords::go_to_next_segment() {
  const Lsn segment = segment_begin(position_, segment_bytes_);
  if (segment.value > UINT64_MAX - segment_bytes_) return false;
  const Lsn next{segment.value + segment_bytes_};
  if (bytes(next, 1).empty()) return false;
  position_ = next;
  return true;
}

// position_ stays, unless a server gave up the record that begins there.
WalRecords::Outcome WalRecords::read_record(WalRecord& record) {
  Lsn at = position_;
  if (at.value % page_bytes_ == 0) {
    const auto page = page_at(at);
    if (!page || (page->info & kGoesOn) != 0) return Outcome::none;
    at.value += page->header;
  } else if (!page_at(page_begin(at))) {
    return Outcome::none;
  }
  record.begin = at;
  const auto length_bytes = bytes(at, sizeof(std::uint32_t));
  if (length_bytes.size() < sizeof(std::uint32_t)) return Outcome::none;
  const std::uint32_t length = get_u32(length_bytes, 0);
  if (length < kHead || length > kMaxRecord) return Outcome::none;

  std::array<std::byte, kHead> head{};
  Crc32c crc;
  body_.clear();
  bool is_kept = false;
  for (std::uint32_t done = 0; done < length;) {
    if (done > 0 && at.value % page_bytes_ == 0) {
      const auto page = page_at(at);
      if (!page) return Outcome::none;
      if ((page->info & kBeginsAnew) != 0) {
        position_ = at;
        return Outcome::begun_anew;
      }
      if ((page->info & kGoesOn) == 0 || page->rest != length - done) {
        return Outcome::none;
      }
      at.value += page->header;
    }
    const std::uint32_t wanted =
        done < kHead ? static_cast<std::uint32_t>(kHead) - done : length - done;
    const auto part = bytes(at, wanted);
    if (part.empty()) return Outcome::none;
    if (done < kHead) {
      std::ranges::copy(part, head.begin() + done);
    } else {
      crc.add(part);
      if (is_kept && body_.size() < kMaxBody) {
        const auto kept =
            part.first(std::min(part.size(), kMaxBody - body_.size()));
        body_.insert(body_.end(), kept.begin(), kept.end());
      }
    }
    done += static_cast<std::uint32_t>(part.size());
    at.value += part.size();
    if (done == kHead) {
      is_kept = is_told_apart(std::to_integer<std::uint8_t>(head[kManagerAt]));
    }
  }
  crc.add(std::span(head).first(kCrcAt));
  const Lsn previous{get_u64(head, kPreviousAt)};
  const bool follows = last_ ? previous == *last_ : previous < record.begin;
  if (crc.value() != get_u32(head, kCrcAt) || !follows) return Outcome::none;

  record.transaction = get_u32(head, kTransactionAt);
  record.info = std::to_integer<std::uint8_t>(head[kInfoAt]);
  record.manager = std::to_integer<std::uint8_t>(head[kManagerAt]);
  record.next = {aligned(at.value)};
  if (is_switch(record)) {
    record.next =
        segment_begin({record.next.value + segment_bytes_ - 1}, segment_bytes_);
  }
  record.body = body_;
  return Outcome::whole;
}

repo::Timestamp to_timestamp(WalTime time) {
  std::int64_t seconds = time.microseconds / kMicroseconds;
  std::int64_t rest = time.microseconds % kMicroseconds;
  if (rest < 0) {
    rest += kMicroseconds;
    --seconds;
  }
  return {seconds + kEpochSeconds, static_cast<std::uint32_t>(rest) * 1000};
}

std::optional<WalTime> to_wal_time(const repo::Timestamp& time) {
  constexpr std::int64_t kMostSeconds = WalTime::kMost / kMicroseconds;
  if (time.seconds >= kMostSeconds || time.seconds <= -kMostSeconds) {
    return std::nullopt;
  }
  return WalTime{(time.seconds - kEpochSeconds) * kMicroseconds +
                 time.nanoseconds / 1000};
}

namespace {

// What is behind the parts of a record: those of managers that are told apart
// concern no pages. Nothing: it is not so.
std::optional<std::span<const std::byte>> data_of(
    std::span<const std::byte> body) {
  constexpr std::uint8_t kShort = 255;
  constexpr std::uint8_t kLong = 254;
  constexpr std::uint8_t kOrigin = 253;
  constexpr std::uint8_t kTopTransaction = 252;
  for (;;) {
    if (body.empty()) return std::nullopt;
    std::size_t skipped = 0;
    switch (std::to_integer<std::uint8_t>(body[0])) {
      case kOrigin:
        skipped = 3;
        break;
      case kTopTransaction:
        skipped = 5;
        break;
      case kShort:
        if (body.size() < 2) return std::nullopt;
        return body.subspan(
            2, std::min<std::size_t>(std::to_integer<std::uint8_t>(body[1]),
                                     body.size() - 2));
      case kLong:
        if (body.size() < 5) return std::nullopt;
        return body.subspan(
            5, std::min<std::size_t>(get_u32(body, 1), body.size() - 5));
      default:
        return std::nullopt;
    }
    if (body.size() < skipped) return std::nullopt;
    body = body.subspan(skipped);
  }
}

std::optional<WalTime> time_at(std::span<const std::byte> data,
                               std::size_t at) {
  if (data.size() < at + 8) return std::nullopt;
  const auto time = std::bit_cast<std::int64_t>(get_u64(data, at));
  if (time >= WalTime::kMost || time <= -WalTime::kMost) return std::nullopt;
  return WalTime{time};
}

// Of text that ends with a zero byte, or with the data.
std::string text_at(std::span<const std::byte> data, std::size_t at) {
  if (data.size() <= at) return {};
  const auto* const begin = reinterpret_cast<const char*>(data.data()) + at;
  const std::string_view all(begin, data.size() - at);
  return std::string(all.substr(0, all.find('\0')));
}

// The transaction that was prepared, named behind lists that are skipped; 0:
// too far behind, or written in a way that is not known.
std::uint32_t prepared_transaction(std::span<const std::byte> data,
                                   WalEvent::Kind kind) {
  constexpr std::uint32_t kDatabase = 1U << 0;
  constexpr std::uint32_t kChildren = 1U << 1;
  constexpr std::uint32_t kFiles = 1U << 2;
  constexpr std::uint32_t kInvalidations = 1U << 3;
  constexpr std::uint32_t kPrepared = 1U << 4;
  constexpr std::uint32_t kStatistics = 1U << 8;  // their size is no constant
  std::size_t at = 8;
  if (data.size() < at + 4) return 0;
  const std::uint32_t info = get_u32(data, at);
  at += 4;
  if ((info & kPrepared) == 0 || (info & kStatistics) != 0) return 0;
  const auto skip_list = [&](std::uint32_t list, std::uint64_t size) {
    if ((info & list) == 0) return true;
    if (data.size() < at + 4) return false;
    const std::uint64_t bytes = get_u32(data, at) * size;
    if (bytes > data.size() - at - 4) return false;
    at += 4 + static_cast<std::size_t>(bytes);
    return true;
  };
  if ((info & kDatabase) != 0) at += 8;
  if (at > data.size() || !skip_list(kChildren, 4) || !skip_list(kFiles, 12) ||
      (kind == WalEvent::Kind::commit && !skip_list(kInvalidations, 16)) ||
      data.size() < at + 4) {
    return 0;
  }
  return get_u32(data, at);
}

std::optional<WalEvent> transaction_event(const WalRecord& record,
                                          std::span<const std::byte> data) {
  const std::uint8_t kind = record.info & kTransactionMask;
  const bool is_commit = kind == kCommit || kind == kCommitPrepared;
  const bool is_prepared = kind == kCommitPrepared || kind == kAbortPrepared;
  if (!is_commit && !is_prepared && kind != kAbort) return std::nullopt;
  WalEvent event;
  event.kind = is_commit ? WalEvent::Kind::commit : WalEvent::Kind::abort;
  event.time = time_at(data, 0);
  event.transaction = record.transaction;
  if (is_prepared) {
    event.transaction = (record.info & kHasInfo) != 0
                            ? prepared_transaction(data, event.kind)
                            : 0;
  }
  return event;
}

std::optional<WalEvent> xlog_event(const WalRecord& record,
                                   std::span<const std::byte> data) {
  constexpr std::size_t kCheckpointTimeAt = 64;
  WalEvent event;
  switch (record.info & kKindMask) {
    case kShutdownCheckpoint:
    case kOnlineCheckpoint:
      if (const auto time = time_at(data, kCheckpointTimeAt)) {
        event.time = to_wal_time({time->microseconds, 0});  // seconds, Unix
      }
      return event;
    case kEndOfRecovery:
      event.time = time_at(data, 0);
      return event;
    case kRestorePoint:
      event.kind = WalEvent::Kind::restore_point;
      event.time = time_at(data, 0);
      event.text = text_at(data, 8);
      return event;
    case kBackupEnd:
      if (data.size() < 8) return std::nullopt;
      event.kind = WalEvent::Kind::backup_end;
      event.start = {get_u64(data, 0)};
      return event;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<WalEvent> event_of(const WalRecord& record) {
  if (!is_told_apart(record.manager)) return std::nullopt;
  const auto data = data_of(record.body);
  if (!data) return std::nullopt;
  if (record.manager == kTransactionManager) {
    return transaction_event(record, *data);
  }
  if (record.manager == kXlogManager) return xlog_event(record, *data);
  if ((record.info & kKindMask) != kCreateTablespace) return std::nullopt;
  WalEvent event;
  event.kind = WalEvent::Kind::create_tablespace;
  event.text = text_at(*data, 4);
  return event;
}

}  // namespace cairn::ingest
