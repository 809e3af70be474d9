// What the plans that this project was made for (its seeds) ask of retention,
// over the year 2026, with the answers recorded. FORMAT.md, section 13, prints
// the same tables. The year began on a Thursday; its last week was the 53rd.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "tests/repo/retention_snapshots.h"

namespace cairn::repo::retention_test {
namespace {

using std::chrono::hours;

Texts operator+(Texts a, const Texts& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Texts kLastSevenDays{"2026-12-31", "2026-12-30", "2026-12-29",
                           "2026-12-28", "2026-12-27", "2026-12-26",
                           "2026-12-25"};

// Seed 000: "daily backups for one week, weekly backups for one month, and
// monthly backups for one year or longer".
TEST(RetentionPlans, KeepsAWeekOfDaysAMonthOfWeeksAYearOfMonths) {
  const Snapshots made =
      every(hours(24), "2026-01-01 03:00", "2026-12-31 23:00");
  const RetentionPolicy policy{.daily = 7, .weekly = 4, .monthly = 12};
  const Texts expected = at(
      "03:00", kLastSevenDays + Texts{"2026-12-20", "2026-12-13",  // Sundays
                                      "2026-11-30", "2026-10-31", "2026-09-30",
                                      "2026-08-31", "2026-07-31", "2026-06-30",
                                      "2026-05-31", "2026-04-30", "2026-03-31",
                                      "2026-02-28", "2026-01-31"});

  EXPECT_EQ(kept(made, policy), expected);
  EXPECT_EQ(ids_of(after_forgetting_each_time(made, policy)), expected);
}

// Seed 001: "hourly backups for the past 24 hours, daily for the past 7 days,
// weekly for the past 4 weeks, monthly for the past 6 months".
TEST(RetentionPlans, Keeps24HoursSevenDaysFourWeeksSixMonths) {
  const Snapshots made =
      every(hours(1), "2026-01-01 00:00", "2026-12-31 23:00");
  const RetentionPolicy policy{
      .hourly = 24, .daily = 7, .weekly = 4, .monthly = 6};
  Texts expected;
  for (int hour = 23; hour >= 0; --hour) {
    expected.push_back(text_of(later(utc("2026-12-31"), hours(hour))));
  }
  expected = expected + at("23:00", {"2026-12-30", "2026-12-29", "2026-12-28",
                                     "2026-12-27", "2026-12-26", "2026-12-25",
                                     "2026-12-20", "2026-12-13", "2026-11-30",
                                     "2026-10-31", "2026-09-30", "2026-08-31",
                                     "2026-07-31"});

  EXPECT_EQ(kept(made, policy), expected);
  EXPECT_EQ(ids_of(after_forgetting_each_time(made, policy)), expected);
}

// Seed 002: "hourly backups: 7 days; daily: 30 days; weekly: 90 days; monthly:
// 365 days".
TEST(RetentionPlans, Keeps168HoursThirtyDaysThirteenWeeksTwelveMonths) {
  const Snapshots made =
      every(hours(1), "2026-01-01 00:00", "2026-12-31 23:00");
  const RetentionPolicy policy{
      .hourly = 168, .daily = 30, .weekly = 13, .monthly = 12};
  Texts expected =
      ids_of(every(hours(1), "2026-12-25 00:00", "2026-12-31 23:00"));
  expected = ids_of(every(hours(24), "2026-12-02 23:00", "2026-12-24 23:00")) +
             expected;
  std::ranges::reverse(expected);
  expected = expected + at("23:00", {"2026-11-30", "2026-11-29", "2026-11-22",
                                     "2026-11-15", "2026-11-08", "2026-11-01",
                                     "2026-10-31", "2026-10-25", "2026-10-18",
                                     "2026-10-11",  // week 41, the 13th
                                     "2026-09-30", "2026-08-31", "2026-07-31",
                                     "2026-06-30", "2026-05-31", "2026-04-30",
                                     "2026-03-31", "2026-02-28", "2026-01-31"});

  EXPECT_EQ(kept(made, policy), expected);
}

// Seed 002 again: "schedule-backup.sh cleanup --retention 30".
TEST(RetentionPlans, KeepsThirtyDaysOfDailySnapshots) {
  const Snapshots made =
      every(hours(24), "2026-01-01 02:00", "2026-12-31 02:00");
  const RetentionPolicy policy{.within = {.days = 30}};
  Texts expected =
      ids_of(every(hours(24), "2026-12-02 02:00", "2026-12-31 02:00"));
  std::ranges::reverse(expected);

  EXPECT_EQ(expected.size(), 30u);
  EXPECT_EQ(kept(made, policy), expected);
  EXPECT_EQ(ids_of(after_forgetting_each_time(made, policy)), expected);
}

// Seed 003: "daily at 2:00 UTC; daily backups: keep for 7 days; weekly: keep
// Sunday backups for 4 weeks; monthly: keep first Sunday backup for 12 months".
TEST(RetentionPlans, KeepsSundaysAndTheFirstSundayOfEachMonth) {
  const Snapshots made =
      every(hours(24), "2026-01-01 02:00", "2026-12-31 02:00");
  const RetentionPolicy policy{.daily = 7,
                               .weekly = 4,
                               .monthly = 12,
                               .week_on = Weekday::sunday,
                               .prefer = Prefer::oldest};
  const Texts expected = at(
      "02:00", kLastSevenDays +  // 28 December stands for its week so far
                   Texts{"2026-12-20", "2026-12-13", "2026-12-06", "2026-11-01",
                         "2026-10-04", "2026-09-06", "2026-08-02", "2026-07-05",
                         "2026-06-07", "2026-05-03", "2026-04-05", "2026-03-01",
                         "2026-02-01", "2026-01-04"});

  EXPECT_EQ(kept(made, policy), expected);
  EXPECT_EQ(ids_of(after_forgetting_each_time(made, policy)), expected);
}

// The same with the newest of each period: the last Sunday of each month.
TEST(RetentionPlans, KeepsTheLastSundayOfEachMonthWhenTheNewestIsPreferred) {
  const Snapshots made =
      every(hours(24), "2026-01-01 02:00", "2026-12-31 02:00");
  const RetentionPolicy policy{
      .weekly = 4, .monthly = 12, .week_on = Weekday::sunday};
  const Texts expected =
      at("02:00",
         {"2026-12-31",  // its week has no Sunday yet
          "2026-12-27", "2026-12-20", "2026-12-13", "2026-11-29", "2026-10-25",
          "2026-09-27", "2026-08-30", "2026-07-26", "2026-06-28", "2026-05-31",
          "2026-04-26", "2026-03-29", "2026-02-22", "2026-01-25"});

  EXPECT_EQ(kept(made, policy), expected);
}

// Seed 004: "hourly Redis snapshots, retained for 24 hours; daily PostgreSQL
// full backup, 7 days; weekly full system backup, 4 weeks; monthly archive, 1
// year". Four series in one repository, each with its own policy.
TEST(RetentionPlans, KeepsFourSeriesByFourPolicies) {
  const Snapshots redis =
      every(hours(1), "2026-01-01 00:00", "2026-12-31 23:00");
  const Snapshots postgres =
      every(hours(24), "2026-01-01 01:00", "2026-12-31 01:00");
  const Snapshots system =  // Sundays
      every(hours(168), "2026-01-04 04:00", "2026-12-27 04:00");
  const Snapshots archive =
      snapshots_at({"2025-11-01 05:00", "2025-12-01 05:00", "2026-01-01 05:00",
                    "2026-02-01 05:00", "2026-03-01 05:00", "2026-04-01 05:00",
                    "2026-05-01 05:00", "2026-06-01 05:00", "2026-07-01 05:00",
                    "2026-08-01 05:00", "2026-09-01 05:00", "2026-10-01 05:00",
                    "2026-11-01 05:00", "2026-12-01 05:00"});
  Texts last_day =
      ids_of(every(hours(1), "2026-12-31 00:00", "2026-12-31 23:00"));
  std::ranges::reverse(last_day);

  EXPECT_EQ(kept(redis, {.hourly = 24}), last_day);
  EXPECT_EQ(kept(postgres, {.daily = 7}), at("01:00", kLastSevenDays));
  EXPECT_EQ(
      kept(system, {.weekly = 4}),
      at("04:00", {"2026-12-27", "2026-12-20", "2026-12-13", "2026-12-06"}));
  EXPECT_EQ(
      kept(archive, {.monthly = 12}),
      at("05:00", {"2026-12-01", "2026-11-01", "2026-10-01", "2026-09-01",
                   "2026-08-01", "2026-07-01", "2026-06-01", "2026-05-01",
                   "2026-04-01", "2026-03-01", "2026-02-01", "2026-01-01"}));
}

}  // namespace
}  // namespace cairn::repo::retention_test
