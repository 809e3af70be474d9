#include "service/health.h"

#include <gtest/gtest.h>

namespace cairn::service {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Moment kNow{seconds(1'700'000'000)};
const Limits kLimits;

std::vector<GoodState> states(std::initializer_list<std::uint64_t> bytes,
                              seconds every) {
  std::vector<GoodState> all;
  auto when = kNow;
  for (const auto size : bytes) {
    all.push_back({when, size});
    when -= every;
  }
  return all;
}

TEST(Health, AgesAreNeverNegative) {
  EXPECT_EQ(age_of(kNow - hours(2), kNow).length, hours(2));
  EXPECT_FALSE(age_of(kNow, kNow).is_of_the_future);
  EXPECT_EQ(age_of(kNow + hours(2), kNow).length, seconds(0));
  EXPECT_TRUE(age_of(kNow + hours(2), kNow).is_of_the_future);
}

TEST(Health, ADailyOneIsOverdueAfterTwentyFiveHours) {
  const Rhythm daily{.interval = hours(24), .last_due = {}};
  EXPECT_FALSE(is_overdue(kNow - hours(25), daily, kLimits, kNow));
  EXPECT_TRUE(is_overdue(kNow - hours(25) - seconds(1), daily, kLimits, kNow));
}

TEST(Health, OneWithAScheduleIsHeldAgainstWhenItWasDue) {
  const Rhythm rhythm{.interval = hours(72), .last_due = kNow - hours(2)};
  EXPECT_TRUE(is_overdue(kNow - hours(3), rhythm, kLimits, kNow));
  EXPECT_FALSE(is_overdue(kNow - hours(2), rhythm, kLimits, kNow));
  EXPECT_TRUE(is_overdue(std::nullopt, rhythm, kLimits, kNow));
}

TEST(Health, WhatHasNoRhythmIsNotOverdue) {
  EXPECT_FALSE(is_overdue(kNow - hours(9'000), {}, kLimits, kNow));
  EXPECT_FALSE(is_overdue(std::nullopt, {}, kLimits, kNow));
}

TEST(Health, TheUsualIntervalIsTheMedian) {
  auto hourly = states({1, 1, 1, 1}, hours(1));
  hourly.push_back({kNow - hours(100), 1});  // a pause is no rhythm
  EXPECT_EQ(usual_interval(hourly), hours(1));
  EXPECT_EQ(usual_interval(states({1, 1}, hours(1))), std::nullopt);
}

TEST(Health, RunsThatSomebodyTriesInARowAreNoRhythm) {
  auto tried = states({1, 1, 1, 1}, seconds(30));
  EXPECT_EQ(usual_interval(tried), std::nullopt);
  for (int day = 1; day <= 2; ++day)
    tried.push_back({kNow - hours(24 * day), 1});
  EXPECT_EQ(usual_interval(tried), hours(24));
}

TEST(Health, TheUsualSizeLeavesTheNewestOut) {
  EXPECT_EQ(usual_bytes(states({900, 100, 110, 90}, hours(1))), 100U);
  EXPECT_EQ(usual_bytes(states({900, 100, 110}, hours(1))), std::nullopt);
}

TEST(Health, TheUsualSizeForgetsWhatIsLongAgo) {
  std::vector<GoodState> all = states({1}, hours(1));
  for (int i = 0; i < 10; ++i) all.push_back({kNow, 500});
  for (int i = 0; i < 30; ++i) all.push_back({kNow, 7});
  EXPECT_EQ(usual_bytes(all), 500U);
}

TEST(Health, AChangeIsAShareOfTheUsual) {
  EXPECT_DOUBLE_EQ(change_of(150, 100), 0.5);
  EXPECT_DOUBLE_EQ(change_of(40, 100), -0.6);
  EXPECT_DOUBLE_EQ(change_of(0, 0), 0);
  EXPECT_DOUBLE_EQ(change_of(5, 0), 1);
}

}  // namespace
}  // namespace cairn::service
