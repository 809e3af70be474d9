#include "repo/copy_finder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;

// What CopyFinder promises of every answer.
void expect_true_copies(std::span<const Copy> copies, const Bytes& plain,
                        const Bytes& base) {
  std::size_t done = 0;
  for (const Copy& copy : copies) {
    ASSERT_GE(copy.at, done);
    ASSERT_GT(copy.size, 0U);
    ASSERT_LE(copy.at + copy.size, plain.size());
    ASSERT_LE(copy.from + copy.size, base.size());
    ASSERT_TRUE(
        std::ranges::equal(std::span(plain).subspan(copy.at, copy.size),
                           std::span(base).subspan(copy.from, copy.size)));
    done = copy.at + copy.size;
  }
}

std::size_t literals_beside(std::span<const Copy> copies, const Bytes& plain) {
  std::size_t literals = plain.size();
  for (const Copy& copy : copies) literals -= copy.size;
  return literals;
}

TEST(CopyFinder, EqualChunksAreOneCopy) {
  std::mt19937_64 random(1);
  CopyFinder finder;
  for (const std::size_t size : {8U, 9U, 255U, 256U, 257U, 70'000U}) {
    const Bytes plain = random_bytes(random, size);
    const auto copies = finder.find(plain, plain);
    ASSERT_TRUE(copies && copies->size() == 1);
    EXPECT_EQ(copies->front().at, 0U);
    EXPECT_EQ(copies->front().from, 0U);
    EXPECT_EQ(copies->front().size, size);
  }
}

TEST(CopyFinder, GoesOnBehindAChangeThatIsAsLong) {
  std::mt19937_64 random(1);
  const Bytes base = random_bytes(random, 60'000);
  Bytes plain = base;
  plain[30'000] ^= std::byte{1};
  CopyFinder finder;
  const auto copies = finder.find(plain, base);
  ASSERT_TRUE(copies && copies->size() == 2);
  expect_true_copies(*copies, plain, base);
  EXPECT_EQ((*copies)[1].at, 30'001U);
  EXPECT_EQ((*copies)[1].from, 30'001U);
}

TEST(CopyFinder, FollowsWhatWasPutInAndTakenOut) {
  for_each_seed(50, [](auto& random) {
    const Bytes base = random_bytes(random, 60'000);
    const Bytes more = random_bytes(random, 1 + random() % 200);
    Bytes plain = base;
    plain.insert(plain.begin() + 20'000, more.begin(), more.end());
    const auto out = plain.begin() + 40'000;
    plain.erase(out, out + static_cast<std::ptrdiff_t>(1 + random() % 500));
    CopyFinder finder;
    const auto copies = finder.find(plain, base);
    ASSERT_TRUE(copies);
    expect_true_copies(*copies, plain, base);
    EXPECT_EQ(copies->size(), 3U);
    EXPECT_LE(literals_beside(*copies, plain), more.size() + 2);
  });
}

TEST(CopyFinder, GivesUpOnWhatIsNotNearlyTheSame) {
  std::mt19937_64 random(1);
  CopyFinder finder;
  const Bytes base = random_bytes(random, 60'000);
  EXPECT_FALSE(finder.find(random_bytes(random, 60'000), base));
  Bytes half = base;
  std::ranges::copy(random_bytes(random, 30'000), half.begin() + 10'000);
  EXPECT_FALSE(finder.find(half, base));
}

TEST(CopyFinder, TakesAnySizes) {
  std::mt19937_64 random(1);
  CopyFinder finder;
  for (std::size_t plain_size = 0; plain_size < 40; ++plain_size) {
    for (std::size_t base_size = 0; base_size < 40; ++base_size) {
      const Bytes all = random_bytes(random, 40);
      const auto front = std::span(all).first(plain_size);
      const auto back = std::span(all).last(base_size);
      const Bytes plain(front.begin(), front.end());
      const Bytes base(back.begin(), back.end());
      const auto copies = finder.find(plain, base);
      ASSERT_TRUE(copies);
      expect_true_copies(*copies, plain, base);
    }
  }
}

// Rows of few different letters, changed, moved and lost at random places.
TEST(CopyFinder, NamesOnlyWhatIsEqual) {
  for_each_seed(300, [](auto& random) {
    Bytes base(random() % 20'000);
    for (auto& byte : base) byte = static_cast<std::byte>(random() % 3);
    Bytes plain = base;
    for (auto edits = random() % 20; edits > 0 && plain.size() > 600; --edits) {
      const auto at = plain.begin() + static_cast<std::ptrdiff_t>(
                                          random() % (plain.size() - 600));
      const auto count = static_cast<std::ptrdiff_t>(random() % 300);
      switch (random() % 3) {
        case 0:
          std::rotate(at, at + count, at + 2 * count);
          break;
        case 1:
          plain.erase(at, at + count);
          break;
        default:
          *at ^= std::byte{1};
      }
    }
    CopyFinder finder;
    if (const auto copies = finder.find(plain, base)) {
      expect_true_copies(*copies, plain, base);
    }
    if (const auto copies = finder.find(base, plain)) {
      expect_true_copies(*copies, base, plain);
    }
  });
}

}  // namespace
}  // namespace cairn::repo
