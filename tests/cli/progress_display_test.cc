#include "cli/progress_display.h"

#include <gtest/gtest.h>

#include "cli/exit_code.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

using std::chrono::seconds;

Estimate after(const std::vector<std::pair<int, std::uint64_t>>& samples) {
  const auto began = Estimate::Clock::now();
  Estimate estimate;
  for (const auto& [second, done] : samples) {
    estimate.note(began + seconds(second), done);
  }
  return estimate;
}

TEST(Estimate, MakesNoWildGuesses) {
  EXPECT_EQ(after({}).remaining(100), std::nullopt);
  EXPECT_EQ(after({{0, 0}, {1, 50}}).remaining(100), std::nullopt);
  EXPECT_EQ(after({{0, 0}, {10, 5}}).remaining(1000), std::nullopt);
  EXPECT_EQ(after({{0, 50}, {10, 50}}).remaining(100), std::nullopt);
  EXPECT_EQ(after({{0, 0}, {10, 50}}).remaining(0), std::nullopt);
  EXPECT_EQ(after({{0, 0}, {10, 150}}).remaining(100), std::nullopt);
}

TEST(Estimate, IsNothingLeftOnceAllIsDone) {
  EXPECT_EQ(after({{0, 0}, {1, 100}}).remaining(100), seconds(0));
}

TEST(Estimate, FollowsTheRate) {
  EXPECT_EQ(after({{0, 0}, {10, 50}}).remaining(100), seconds(10));
  EXPECT_DOUBLE_EQ(after({{0, 0}, {10, 50}}).per_second(), 5);
}

TEST(Estimate, ForgetsWhatIsLongAgo) {
  const auto estimate =
      after({{0, 0}, {10, 1000}, {60, 1010}, {80, 1030}, {85, 1035}});

  EXPECT_DOUBLE_EQ(estimate.per_second(), 1);
  EXPECT_EQ(estimate.remaining(1135), seconds(100));
}

TEST(ProgressStyle, HasFiveNames) {
  EXPECT_EQ(parse_progress_style("bar"), ProgressStyle::bar);
  EXPECT_EQ(parse_progress_style("auto"), ProgressStyle::automatic);
  EXPECT_THROW((void)parse_progress_style("dots"), UsageError);
}

TEST(ExitCode, PutsDamageBeforeAFullDiskBeforePartialSuccess) {
  using enum ExitCode;
  EXPECT_EQ(worse(ok, partial), partial);
  EXPECT_EQ(worse(damage, out_of_space), damage);
  EXPECT_EQ(worse(out_of_space, unreachable), out_of_space);
  EXPECT_EQ(worse(source_failed, unreachable), unreachable);
  EXPECT_EQ(worse(partial, source_failed), source_failed);
  EXPECT_EQ(worse(damage, interrupted), interrupted);
}

}  // namespace
}  // namespace cairn::cli
