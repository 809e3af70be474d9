#include "repo/pack_subset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace cairn::repo {
namespace {

std::vector<StoredPack> packs(std::size_t count, std::uint64_t size) {
  std::mt19937_64 random(1);
  std::vector<StoredPack> all(count);
  for (auto& pack : all) {
    for (auto& byte : pack.id.bytes) byte = static_cast<std::byte>(random());
    pack.size = size;
  }
  std::ranges::sort(all);
  return all;
}

TEST(PackSubset, IsAShareAPartOrAnAmount) {
  EXPECT_EQ(std::get<PackSubset::Share>(parse_pack_subset("5%").which).percent,
            5);
  EXPECT_EQ(
      std::get<PackSubset::Share>(parse_pack_subset("0.5%").which).percent,
      0.5);
  const auto part = std::get<PackSubset::Part>(parse_pack_subset("3/30").which);
  EXPECT_EQ(part.number, 3U);
  EXPECT_EQ(part.count, 30U);
  EXPECT_EQ(std::get<PackSubset::Bytes>(parse_pack_subset("2GiB").which).bytes,
            std::uint64_t{2} << 30);
  EXPECT_EQ(
      std::get<PackSubset::Bytes>(parse_pack_subset("1.5KiB").which).bytes,
      1536U);
  EXPECT_EQ(std::get<PackSubset::Bytes>(parse_pack_subset("7MB").which).bytes,
            7'000'000U);
}

TEST(PackSubset, RefusesWhatIsNone) {
  for (const auto* const text :
       {"",     "%",     "0%",   "-1%",  "101%", "nan%",  "inf%",
        "5 %",  "5",     "0/3",  "4/3",  "1/0",  "/",     "1/",
        "/3",   "1/2/3", "-1/3", "0GiB", "GiB",  "-2GiB", "1e40GiB",
        "2gib", "2 GiB", "x",    "5%%",  "0.1B"}) {
    EXPECT_THROW((void)parse_pack_subset(text), std::invalid_argument) << text;
  }
}

TEST(PackSubset, PartsTogetherAreAllAndDoNotOverlap) {
  const auto all = packs(1000, 10);
  std::vector<StoredPack> joined;
  std::size_t largest = 0;

  for (std::uint64_t n = 1; n <= 7; ++n) {
    const auto part = select(all, {PackSubset::Part{n, 7}});
    largest = std::max(largest, part.size());
    joined.insert(joined.end(), part.begin(), part.end());
  }

  std::ranges::sort(joined);
  EXPECT_EQ(joined, all);
  EXPECT_LT(largest, 200U);
}

TEST(PackSubset, TakesAtLeastSoMuch) {
  const auto all = packs(100, 10);

  EXPECT_EQ(select(all, {}).size(), 100U);
  EXPECT_EQ(select(all, parse_pack_subset("5%")).size(), 5U);
  EXPECT_EQ(select(all, parse_pack_subset("0.01%")).size(), 1U);
  EXPECT_EQ(select(all, parse_pack_subset("100%")).size(), 100U);
  EXPECT_EQ(select(all, parse_pack_subset("15B")).size(), 2U);
  EXPECT_EQ(select(all, parse_pack_subset("1TiB")).size(), 100U);
  EXPECT_TRUE(select({}, parse_pack_subset("5%")).empty());
}

}  // namespace
}  // namespace cairn::repo
