#include "ingest/lsn.h"

#include <gtest/gtest.h>

namespace cairn::ingest {
namespace {

TEST(Lsn, IsWrittenAsTheServerWritesIt) {
  EXPECT_EQ(to_string(Lsn{0x16B374D848}), "16/B374D848");
  EXPECT_EQ(to_string(Lsn{}), "0/0");
  EXPECT_EQ(parse_lsn("16/B374D848"), Lsn{0x16B374D848});
  EXPECT_EQ(parse_lsn("FFFFFFFF/FFFFFFFF"), Lsn{~std::uint64_t{0}});
  for (const char* const none :
       {"", "/", "1", "1/", "/1", "1/2/3", "1/ 2", "-1/2", "1/0x2",
        "100000000/0", "0/100000000", "g/0"}) {
    EXPECT_EQ(parse_lsn(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace cairn::ingest
