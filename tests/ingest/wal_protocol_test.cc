#include "ingest/wal_protocol.h"

#include <gtest/gtest.h>

#include "ingest/postgres_connection.h"
#include "tests/support/bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;

Bytes message(char kind, std::initializer_list<std::uint64_t> words,
              std::string_view rest) {
  Bytes bytes{static_cast<std::byte>(kind)};
  for (const auto word : words) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<std::byte>(word >> shift));
    }
  }
  for (const char c : rest) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

TEST(WalProtocol, DataAndKeepalivesAreRead) {
  const auto data = message('w', {0x16B374D848, 0x16B374E000, 5}, "abc");
  const auto parsed = std::get<WalData>(parse_wal_message(data));
  EXPECT_EQ(parsed.start, Lsn{0x16B374D848});
  EXPECT_EQ(parsed.server_end, Lsn{0x16B374E000});
  EXPECT_EQ(parsed.bytes.size(), 3U);
  const auto asking = message('k', {7, 5}, std::string_view("\1", 1));
  const auto keepalive = std::get<WalKeepalive>(parse_wal_message(asking));
  EXPECT_EQ(keepalive.server_end, Lsn{7});
  EXPECT_TRUE(keepalive.wants_reply);
}

TEST(WalProtocol, WhatNoServerSendsIsRefused) {
  EXPECT_THROW((void)parse_wal_message({}), PostgresError);
  EXPECT_THROW((void)parse_wal_message(message('x', {1, 2, 3}, "")),
               PostgresError);
  auto data = message('w', {1, 2, 3}, "");
  data.pop_back();
  EXPECT_THROW((void)parse_wal_message(data), PostgresError);
  EXPECT_THROW((void)parse_wal_message(message('k', {1, 2}, "")),
               PostgresError);
  EXPECT_THROW((void)parse_wal_message(message('w', {~0ULL, 2, 3}, "a")),
               PostgresError);
}

TEST(WalProtocol, AStatusIsAsThePostgresManualHasIt) {
  const auto status =
      standby_status({0x102}, {0x101}, {946'684'801, 2'000}, Reply::wanted);
  const auto expected =
      message('r', {0x102, 0x101, 0, 1'000'002}, std::string_view("\1", 1));
  EXPECT_EQ(Bytes(status.begin(), status.end()), expected);
}

TEST(WalProtocol, AHistoryIsRead) {
  EXPECT_EQ(parse_timeline_history("1\t0/3000000\tno recovery target\n\n"
                                   "# a comment\n3\t1/A\tbefore 'x'\n"),
            (std::vector<TimelineEnd>{{1, {0x3000000}}, {3, {0x10000000A}}}));
  EXPECT_TRUE(parse_timeline_history("").empty());
  for (const char* const none :
       {"x\t0/1\t\n", "1\n", "1\tzero\n", "0\t0/1\n", "2\t0/1\n1\t0/2\n"}) {
    EXPECT_THROW((void)parse_timeline_history(none), PostgresError) << none;
  }
}

TEST(WalProtocol, SizesAreReadAsShowHasThem) {
  EXPECT_EQ(parse_setting_bytes("16MB"), std::uint64_t{16} << 20);
  EXPECT_EQ(parse_setting_bytes("1GB"), std::uint64_t{1} << 30);
  EXPECT_EQ(parse_setting_bytes("64kB"), std::uint64_t{64} << 10);
  EXPECT_EQ(parse_setting_bytes("0B"), 0U);
  for (const char* const none :
       {"", "MB", "16", "16 MB", "-1MB", "1mb", "99999999999999999999MB"}) {
    EXPECT_THROW((void)parse_setting_bytes(none), PostgresError) << none;
  }
}

TEST(WalProtocol, AHeadOfASegmentIsToldByItsPlaceAndCluster) {
  Bytes head(8);
  const auto put = [&](std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) {
      head.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
  };
  constexpr std::uint64_t kSegment = 16 << 20;
  put(0x5000000, 8);  // address
  put(0, 8);          // what is left of a record, and padding
  put(77, 8);         // system
  put(kSegment, 4);
  put(8192, 4);
  EXPECT_TRUE(is_segment_head(head, {0x5000000}, 77, kSegment));
  EXPECT_FALSE(is_segment_head(head, {0x6000000}, 77, kSegment));
  EXPECT_FALSE(is_segment_head(head, {0x5000000}, 78, kSegment));
  EXPECT_FALSE(is_segment_head(head, {0x5000000}, 77, 2 * kSegment));
}

}  // namespace
}  // namespace cairn::ingest
