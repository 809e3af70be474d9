#include "ingest/wal_name.h"

#include <gtest/gtest.h>

namespace cairn::ingest {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

TEST(WalName, APathComesBackAndHasOneSpelling) {
  const WalStreamId stream{7412345678901234567, 3, {0x1000000}};
  EXPECT_EQ(path_of(stream),
            "wal/7412345678901234567/00000003/0000000001000000");
  EXPECT_EQ(parse_wal_path(path_of(stream)), stream);
  for (const char* const none :
       {"", "wal/", "wal/1", "wal/1/00000003", "wal/1/00000003/1000000",
        "wal/01/00000003/0000000001000000", "wal/1/00000003/000000000100000a",
        "wal/1/3/0000000001000000", "/wal/1/00000003/0000000001000000",
        "wal/1/00000003/0000000001000000/",
        "wal/99999999999999999999/00000003/0000000001000000"}) {
    EXPECT_EQ(parse_wal_path(none), std::nullopt) << none;
  }
}

TEST(WalName, SegmentsAreNamedAsInPgWal) {
  EXPECT_EQ(segment_name(1, Lsn{0x1000000}, 16 * kMib),
            "000000010000000000000001");
  EXPECT_EQ(segment_name(0xA, Lsn{0x2'FF123456}, 16 * kMib),
            "0000000A00000002000000FF");
  EXPECT_EQ(segment_name(1, Lsn{0x2'FF123456}, 1024 * kMib),
            "000000010000000200000003");
  for (const std::uint64_t bytes : {kMib, 16 * kMib, 1024 * kMib}) {
    for (const std::uint64_t number : {0U, 1U, 255U, 4097U, 70'000U}) {
      const Lsn lsn{number * bytes};
      EXPECT_EQ(parse_segment_name(segment_name(7, lsn, bytes), 7, bytes), lsn);
      EXPECT_EQ(parse_segment_name(segment_name(7, lsn, bytes), 8, bytes),
                std::nullopt);
    }
  }
  for (const char* const none :
       {"", "00000007000000000000000", "000000070000000000000001.partial",
        "000000070000000000000100", "00000007000000000000000g"}) {
    EXPECT_EQ(parse_segment_name(none, 7, 16 * kMib), std::nullopt) << none;
  }
}

TEST(WalName, SegmentsHaveTheSizesThatInitdbAllows) {
  EXPECT_TRUE(is_segment_size(kMib));
  EXPECT_TRUE(is_segment_size(1024 * kMib));
  EXPECT_FALSE(is_segment_size(0));
  EXPECT_FALSE(is_segment_size(3 * kMib));
  EXPECT_FALSE(is_segment_size(kMib / 2));
  EXPECT_FALSE(is_segment_size(2048 * kMib));
}

}  // namespace
}  // namespace cairn::ingest
