#include <gtest/gtest.h>

#include "chunker/chunker.h"
#include "tests/support/bytes.h"

namespace cairn::chunker {
namespace {

using testing_support::Bytes;

TEST(PageCutter, CutsAtItsFixedSize) {
  const PageCutter cutter(64U << 10);

  EXPECT_EQ(cutter.first_cut(Bytes(64U << 10)), 64U << 10);
  EXPECT_EQ(cutter.first_cut(Bytes(1U << 20)), 64U << 10);
}

TEST(PageCutter, TakesTheRestOfAStreamAsItIs) {
  const PageCutter cutter(PageCutter::kGridBytes);

  EXPECT_EQ(cutter.first_cut(Bytes(1)), 1U);
  EXPECT_EQ(cutter.first_cut(Bytes(8191)), 8191U);
}

TEST(PageCutterDeathTest, RefusesASizeOffTheGrid) {
  EXPECT_DEATH(PageCutter(10'000), "");
  EXPECT_DEATH(PageCutter(0), "");
}

}  // namespace
}  // namespace cairn::chunker
