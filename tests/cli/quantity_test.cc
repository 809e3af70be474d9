#include "cli/quantity.h"

#include <gtest/gtest.h>

#include <limits>

#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

using std::chrono::seconds;

TEST(Quantity, ShowsSizesWithThreeDigitsThatCount) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(1023), "1023 B");
  EXPECT_EQ(size_text(1024), "1.00 KiB");
  EXPECT_EQ(size_text(1536), "1.50 KiB");
  EXPECT_EQ(size_text((1ULL << 20) - 1), "1.00 MiB");
  EXPECT_EQ(size_text(52'428'800), "50.0 MiB");
  EXPECT_EQ(size_text(std::numeric_limits<std::uint64_t>::max()), "16384 PiB");
}

TEST(Quantity, ShowsCountsAndRatios) {
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(ratio_text(1000, 100), "10.0x");
  EXPECT_EQ(ratio_text(100'000, 100), "1000x");
  EXPECT_EQ(ratio_text(1000, 0), "-");
  EXPECT_EQ(ratio_text(0, 10), "-");
}

TEST(Quantity, ReadsSizes) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("10GiB"), 10ULL << 30);
  EXPECT_EQ(parse_size("10 G"), 10ULL << 30);
  EXPECT_EQ(parse_size("1.5K"), 1536u);
  EXPECT_EQ(parse_size("100MB"), 100'000'000u);
}

TEST(Quantity, ReadsDurationsSharesAndCounts) {
  EXPECT_EQ(parse_duration("90s"), seconds(90));
  EXPECT_EQ(parse_duration("10m"), seconds(600));
  EXPECT_EQ(parse_duration("1.5h"), seconds(5400));
  EXPECT_EQ(parse_duration("2d"), seconds(172'800));
  EXPECT_EQ(parse_duration("0"), seconds(0));
  EXPECT_DOUBLE_EQ(parse_percent("5%"), 0.05);
  EXPECT_EQ(parse_count("12", 100), 12u);
}

TEST(Quantity, RefusesWhatIsNone) {
  for (const std::string_view text :
       {"", "x", "-1", "1X", "1e9GiB", "nan", "inf", "99999999999TiB", "GiB"}) {
    EXPECT_THROW((void)parse_size(text), UsageError) << text;
  }
  for (const std::string_view text : {"", "10", "5y", "-3d", "1e300d"}) {
    EXPECT_THROW((void)parse_duration(text), UsageError) << text;
  }
  for (const std::string_view text : {"", "5", "101%", "-1%", "x%"}) {
    EXPECT_THROW((void)parse_percent(text), UsageError) << text;
  }
  for (const std::string_view text :
       {"", "-1", "+1", "1.5", "101", "99999999999999999999"}) {
    EXPECT_THROW((void)parse_count(text, 100), UsageError) << text;
  }
}

TEST(Quantity, CountsOneApartFromMany) {
  EXPECT_EQ(counted(0, "file"), "0 files");
  EXPECT_EQ(counted(1, "file"), "1 file");
  EXPECT_EQ(counted(12'345, "file"), "12,345 files");
}

}  // namespace
}  // namespace cairn::cli
