#include "repo/memory_sum.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

TEST(MemorySum, SeesEveryFlippedBit) {
  for_each_seed(20, [](auto& random) {
    Bytes bytes = random_bytes(random, 1 + random() % 300);
    const MemorySum sum = memory_sum(bytes);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const auto flip = static_cast<std::byte>(1U << (bit % 8));
      bytes[bit / 8] ^= flip;
      ASSERT_NE(memory_sum(bytes), sum);
      bytes[bit / 8] ^= flip;
    }
  });
}

// As a cell of memory does that always reads as one.
TEST(MemorySum, SeesABitThatIsStuckInEveryWord) {
  for_each_seed(20, [](auto& random) {
    const Bytes bytes = random_bytes(random, 8 * (16 + random() % 2000));
    for (std::size_t bit = 0; bit < 64; ++bit) {
      Bytes stuck = bytes;
      for (std::size_t at = bit / 8; at < stuck.size(); at += 8) {
        stuck[at] |= static_cast<std::byte>(1U << (bit % 8));
      }
      ASSERT_NE(memory_sum(stuck), memory_sum(bytes));
    }
  });
}

TEST(MemorySum, OfPiecesIsThatOfTheWhole) {
  for_each_seed(200, [](auto& random) {
    const Bytes bytes = random_bytes(random, random() % 2000);
    MemorySum by_bytes;
    MemorySum by_sums;
    for (std::span<const std::byte> rest = bytes; !rest.empty();) {
      const auto piece =
          rest.first(std::min<std::size_t>(random() % 200, rest.size()));
      by_bytes.add(piece);
      by_sums.add(memory_sum(piece));
      rest = rest.subspan(piece.size());
    }
    EXPECT_EQ(by_bytes, memory_sum(bytes));
    EXPECT_EQ(by_sums, memory_sum(bytes));
  });
}

TEST(MemorySum, LosesNoCarry) {
  const Bytes ones(std::size_t{1} << 20, std::byte{0xff});
  Bytes other = ones;
  other.back() = std::byte{0};
  EXPECT_NE(memory_sum(ones), memory_sum(other));
  EXPECT_NE(memory_sum(ones), memory_sum(Bytes(ones.size())));
}

}  // namespace
}  // namespace cairn::repo
