#include "ingest/wal_records.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "ingest/crc32c.h"
#include "ingest/recovery_wal.h"
#include "tests/support/bytes.h"
#include "tests/support/wal_bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;
using testing_support::WalBytes;
using Kind = WalEvent::Kind;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr Lsn kStart{3 * kSegment};
constexpr WalTime kNoon{800'000'000'000'000};

std::vector<Lsn> begins_of(WalRecords records) {
  std::vector<Lsn> all;
  while (const auto record = records.next()) all.push_back(record->begin);
  return all;
}

TEST(Crc32c, IsTheOneOfTheStandards) {
  Crc32c crc;
  const std::string_view text = "123456789";
  crc.add(std::as_bytes(std::span(text)).first(2));
  crc.add(std::as_bytes(std::span(text)).subspan(2));
  EXPECT_EQ(crc.value(), 0xe3069283U);
}

TEST(WalRecords, AreReadOverPagesAndSegmentsFromEveryPage) {
  std::mt19937_64 random(7);
  WalBytes wal(kStart, kSegment);
  std::vector<Lsn> begins;
  while (wal.bytes().size() < 5 * kSegment) {
    // Now and then one of many pages.
    const auto most = random() % 50 == 0 ? 100'000U : 700U;
    begins.push_back(wal.filler(random() % most).begin);
    if (random() % 300 == 0) begins.push_back(wal.switch_segment().begin);
  }
  WalRecords records(wal.reader(), kStart, kSegment);
  EXPECT_EQ(begins_of(std::move(records)), begins);
  for (std::uint64_t page = 0; page < 640; page += 1 + random() % 9) {
    const Lsn from{kStart.value + page * WalBytes::kPage};
    const auto first = std::ranges::lower_bound(begins, from);
    EXPECT_EQ(begins_of(WalRecords(wal.reader(), from, kSegment)),
              std::vector<Lsn>(first, begins.end()))
        << page;
  }
}

TEST(WalRecords, EndWhereNoWholeRecordIs) {
  WalBytes wal(kStart, kSegment);
  wal.filler(100);
  const auto last = wal.filler(20'000);
  const Bytes whole = wal.bytes();
  for (std::size_t size = last.begin.value - kStart.value;
       size < whole.size() - 8; size += 577) {
    wal.bytes().resize(size);
    WalRecords records(wal.reader(), kStart, kSegment);
    ASSERT_TRUE(records.next());
    EXPECT_FALSE(records.next());
    EXPECT_EQ(records.position(), last.begin);
    EXPECT_NE(records.last(), last.begin);
    wal.bytes() = whole;
  }
  // Padded with zeros, as the last segment is.
  wal.bytes().resize(kSegment);
  WalRecords padded(wal.reader(), kStart, kSegment);
  while (padded.next()) {
  }
  EXPECT_EQ(padded.position(), last.next);
  EXPECT_EQ(padded.last(), last.begin);
}

TEST(WalRecords, ABitThatIsWrongEndsThem) {
  WalBytes wal(kStart, kSegment);
  wal.filler(100);
  const auto second = wal.filler(10'000);
  wal.filler(100);
  const auto from = second.begin.value - kStart.value;
  for (const std::size_t at : {0U, 9U, 17U, 21U, 30U, 9'000U}) {
    wal.bytes()[from + at] ^= std::byte{4};
    EXPECT_EQ(begins_of(WalRecords(wal.reader(), kStart, kSegment)).size(), 1U)
        << at;
    wal.bytes()[from + at] ^= std::byte{4};
  }
  EXPECT_EQ(begins_of(WalRecords(wal.reader(), kStart, kSegment)).size(), 3U);
}

TEST(WalRecords, WhatACrashLeftIsPassedOver) {
  WalBytes wal(kStart, kSegment);
  const auto first = wal.filler(100);
  wal.torn(10'000);
  const auto second = wal.commit(5, kNoon);
  EXPECT_EQ(begins_of(WalRecords(wal.reader(), kStart, kSegment)),
            (std::vector<Lsn>{first.begin, second.begin}));
}

TEST(WalRecords, SayWhatARecoveryHeeds) {
  WalBytes wal(kStart, kSegment);
  wal.filler(100);
  wal.commit(41, kNoon);
  wal.abort(42, {kNoon.microseconds + 1});
  wal.checkpoint(1'800'000'000);
  wal.restore_point("before the change", kNoon);
  wal.create_tablespace("/srv/fast");
  wal.switch_segment();
  WalRecords records(wal.reader(), kStart, kSegment);
  std::vector<WalEvent> events;
  while (const auto record = records.next()) {
    if (auto event = event_of(*record)) events.push_back(std::move(*event));
  }
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(events[0].kind, Kind::commit);
  EXPECT_EQ(events[0].time, kNoon);
  EXPECT_EQ(events[0].transaction, 41U);
  EXPECT_EQ(events[1].kind, Kind::abort);
  EXPECT_EQ(events[1].transaction, 42U);
  EXPECT_EQ(events[2].kind, Kind::clock);
  EXPECT_EQ(to_timestamp(*events[2].time), (repo::Timestamp{1'800'000'000, 0}));
  EXPECT_EQ(events[3].kind, Kind::restore_point);
  EXPECT_EQ(events[3].text, "before the change");
  EXPECT_EQ(events[4].kind, Kind::create_tablespace);
  EXPECT_EQ(events[4].text, "/srv/fast");
}

TEST(WalRecords, APreparedTransactionIsFoundBehindItsLists) {
  const auto put = [](Bytes& out, std::uint64_t number, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      out.push_back(static_cast<std::byte>(number >> (8 * i)));
    }
  };
  Bytes data;
  put(data, 5, 8);
  put(data, 1U << 0 | 1U << 1 | 1U << 3 | 1U << 4, 4);
  put(data, 1, 4);
  put(data, 2, 4);
  put(data, 3, 4);  // transactions below it
  data.resize(data.size() + 12);
  put(data, 2, 4);  // invalidations
  data.resize(data.size() + 32);
  put(data, 4711, 4);
  WalBytes wal(kStart, kSegment);
  wal.add(1, 0x30 | 0x80, 0, data);
  data.resize(data.size() - 1);
  wal.add(1, 0x30 | 0x80, 0, data);
  WalRecords records(wal.reader(), kStart, kSegment);
  EXPECT_EQ(event_of(*records.next())->transaction, 4711U);
  EXPECT_EQ(event_of(*records.next())->transaction, 0U);
}

TEST(WalTime, IsWrittenAsTheServerWritesIt) {
  EXPECT_EQ(to_string(WalTime{0}), "2000-01-01 00:00:00+00");
  EXPECT_EQ(to_string(WalTime{-1}), "1999-12-31 23:59:59.999999+00");
  EXPECT_EQ(to_string(*to_wal_time({1'795'766'462, 123'456'789})),
            "2026-11-27 08:01:02.123456+00");
  EXPECT_FALSE(to_wal_time({INT64_MAX, 0}));
  EXPECT_FALSE(to_wal_time({INT64_MIN, 0}));
  WalBytes wal(kStart, kSegment);
  wal.commit(5, {INT64_MAX});
  wal.commit(6, {INT64_MIN});
  WalRecords records(wal.reader(), kStart, kSegment);
  EXPECT_FALSE(event_of(*records.next())->time);
  EXPECT_FALSE(event_of(*records.next())->time);
}

}  // namespace
}  // namespace cairn::ingest
