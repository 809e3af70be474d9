#include "repo/pack_subset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
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
    const auto part = select(all, {PackSubset::Part{n, 7}}, n);
    largest = std::max(largest, part.size());
    joined.insert(joined.end(), part.begin(), part.end());
  }

  std::ranges::sort(joined);
  EXPECT_EQ(joined, all);
  EXPECT_LT(largest, 200U);
}

TEST(PackSubset, TakesAtLeastSoMuch) {
  const auto all = packs(100, 10);

  EXPECT_EQ(select(all, {}, 0).size(), 100U);
  EXPECT_EQ(select(all, parse_pack_subset("5%"), 0).size(), 5U);
  EXPECT_EQ(select(all, parse_pack_subset("0.01%"), 0).size(), 1U);
  EXPECT_EQ(select(all, parse_pack_subset("100%"), 0).size(), 100U);
  EXPECT_EQ(select(all, parse_pack_subset("15B"), 0).size(), 2U);
  EXPECT_EQ(select(all, parse_pack_subset("1TiB"), 0).size(), 100U);
  EXPECT_TRUE(select({}, parse_pack_subset("5%"), 0).empty());
}

TEST(PackSubset, BeginsWhereItIsToldAndGoesOnFromTheLastToTheFirst) {
  const auto all = packs(10, 10);
  const auto taken = [&](const char* text, std::uint64_t beginning) {
    return select(all, parse_pack_subset(text), beginning);
  };
  using Packs = std::vector<StoredPack>;

  EXPECT_EQ(taken("20%", 3), (Packs{all[3], all[4]}));
  EXPECT_EQ(taken("20B", 3), (Packs{all[3], all[4]}));
  EXPECT_EQ(taken("30%", 8), (Packs{all[0], all[8], all[9]}));
  EXPECT_EQ(taken("1%", 9), Packs{all[9]});
  EXPECT_EQ(taken("1%", 29), Packs{all[9]});
  EXPECT_EQ(taken("100%", 7), all);
  EXPECT_EQ(taken("3/7", 7), taken("3/7", 0));
}

// Whichever it is, each number reads it as often as any other.
TEST(PackSubset, LeavesNoPackOutForEver) {
  const auto all = packs(20, 10);
  std::map<PackId, int> read;

  for (std::uint64_t beginning = 0; beginning < 20; ++beginning) {
    for (const auto& pack : select(all, parse_pack_subset("10%"), beginning)) {
      ++read[pack.id];
    }
  }

  EXPECT_EQ(read.size(), 20U);
  for (const auto& [id, count] : read) EXPECT_EQ(count, 2);
}

}  // namespace
}  // namespace cairn::repo
