#include "tests/support/wal_bytes.h"

#include <algorithm>

namespace cairn::testing_support {
namespace {

constexpr std::uint8_t kXlog = 0;
constexpr std::uint8_t kTransactions = 1;
constexpr std::uint8_t kTablespaces = 5;
constexpr std::uint8_t kHeap = 10;

void put_number(Bytes& out, std::uint64_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    out.push_back(static_cast<std::byte>(number >> (8 * i)));
  }
}

void put_text(Bytes& out, std::string_view text) {
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
  out.push_back({});
}

// Bit by bit, unlike the one under test.
std::uint32_t crc32c(const Bytes& bytes, std::uint32_t state) {
  for (const auto byte : bytes) {
    state ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78U : 0U);
    }
  }
  return state;
}

}  // namespace

WalBytes::WalBytes(ingest::Lsn start, std::uint64_t segment_bytes,
                   std::uint32_t timeline)
    : start_(start), segment_bytes_(segment_bytes), timeline_(timeline) {}

void WalBytes::begin_page(std::uint16_t info, std::uint32_t rest) {
  const bool is_first = end().value % segment_bytes_ == 0;
  const std::uint64_t address = end().value;
  put_number(bytes_, 0xd110, 2);
  put_number(bytes_, info | (is_first ? 2U : 0U), 2);
  put_number(bytes_, timeline_, 4);
  put_number(bytes_, address, 8);
  put_number(bytes_, rest, 4);
  put_number(bytes_, 0, 4);
  if (!is_first) return;
  put_number(bytes_, 77, 8);
  put_number(bytes_, segment_bytes_, 4);
  put_number(bytes_, kPage, 4);
}

Bytes WalBytes::record(std::uint8_t manager, std::uint8_t info,
                       std::uint32_t transaction, const Bytes& data) const {
  Bytes body;
  if (data.size() < 256) {
    put_number(body, 255, 1);
    put_number(body, data.size(), 1);
  } else {
    put_number(body, 254, 1);
    put_number(body, data.size(), 4);
  }
  body.insert(body.end(), data.begin(), data.end());
  Bytes head;
  put_number(head, 24 + body.size(), 4);
  put_number(head, transaction, 4);
  put_number(head, previous_, 8);
  put_number(head, info, 1);
  put_number(head, manager, 1);
  put_number(head, 0, 2);
  const std::uint32_t crc = ~crc32c(head, crc32c(body, ~0U));
  put_number(head, crc, 4);
  head.insert(head.end(), body.begin(), body.end());
  return head;
}

void WalBytes::put(const Bytes& record, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const auto in_page = end().value % kPage;
    if (in_page == 0) {
      begin_page(
          done > 0 ? 1 : 0,
          done > 0 ? static_cast<std::uint32_t>(record.size() - done) : 0);
      continue;
    }
    const auto count = std::min<std::size_t>(size - done, kPage - in_page);
    bytes_.insert(bytes_.end(),
                  record.begin() + static_cast<std::ptrdiff_t>(done),
                  record.begin() + static_cast<std::ptrdiff_t>(done + count));
    done += count;
  }
}

void WalBytes::align() {
  while (bytes_.size() % 8 != 0) bytes_.push_back({});
}

WalBytes::Placed WalBytes::add(std::uint8_t manager, std::uint8_t info,
                               std::uint32_t transaction, const Bytes& data) {
  if (end().value % kPage == 0) begin_page(0, 0);
  const auto begin = end();
  const auto made = record(manager, info, transaction, data);
  put(made, made.size());
  align();
  previous_ = begin.value;
  return {begin, end()};
}

WalBytes::Placed WalBytes::filler(std::size_t size) {
  Bytes data(size);
  for (std::size_t i = 0; i < size; ++i)
    data[i] = static_cast<std::byte>(i * 7);
  return add(kHeap, 0, 9, data);
}

WalBytes::Placed WalBytes::commit(std::uint32_t transaction,
                                  ingest::WalTime time) {
  Bytes data;
  put_number(data, static_cast<std::uint64_t>(time.microseconds), 8);
  return add(kTransactions, 0, transaction, data);
}

WalBytes::Placed WalBytes::abort(std::uint32_t transaction,
                                 ingest::WalTime time) {
  Bytes data;
  put_number(data, static_cast<std::uint64_t>(time.microseconds), 8);
  return add(kTransactions, 0x20, transaction, data);
}

WalBytes::Placed WalBytes::checkpoint(std::int64_t unix_seconds) {
  Bytes data(64);
  put_number(data, static_cast<std::uint64_t>(unix_seconds), 8);
  data.resize(88);
  return add(kXlog, 0x10, 0, data);
}

WalBytes::Placed WalBytes::restore_point(std::string_view name,
                                         ingest::WalTime time) {
  Bytes data;
  put_number(data, static_cast<std::uint64_t>(time.microseconds), 8);
  put_text(data, name);
  data.resize(72);
  return add(kXlog, 0x70, 0, data);
}

WalBytes::Placed WalBytes::create_tablespace(std::string_view place) {
  Bytes data;
  put_number(data, 16'400, 4);
  put_text(data, place);
  return add(kTablespaces, 0, 9, data);
}

WalBytes::Placed WalBytes::switch_segment() {
  auto placed = add(kXlog, 0x40, 0, {});
  while (end().value % segment_bytes_ != 0) {
    if (end().value % kPage == 0) begin_page(0, 0);
    bytes_.push_back({});
  }
  placed.next = end();
  return placed;
}

void WalBytes::torn(std::size_t size) {
  if (end().value % kPage == 0) begin_page(0, 0);
  const auto made = record(kHeap, 0, 9, Bytes(4 * kPage));
  put(made, size);
  while (end().value % kPage != 0) bytes_.push_back({});
  begin_page(8, 0);
}

ingest::WalRecords::Read WalBytes::reader() const {
  return [this](ingest::Lsn at, std::span<std::byte> out) -> std::size_t {
    if (at < start_ || at >= end()) return 0;
    const auto from = static_cast<std::size_t>(at.value - start_.value);
    const auto count = std::min(out.size(), bytes_.size() - from);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(from), count,
                out.begin());
    return count;
  };
}

}  // namespace cairn::testing_support
