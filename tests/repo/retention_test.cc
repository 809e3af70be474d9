#include "repo/retention.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <stdexcept>
#include <utility>

#include "tests/repo/retention_snapshots.h"

namespace cairn::repo::retention_test {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(Retention, KeepsTheNewestOfEachPeriodThatHasAny) {
  const Snapshots made =
      snapshots_at({"2026-03-01 10:00", "2026-03-01 20:00", "2026-03-04 08:00",
                    "2026-03-09 09:00", "2026-03-09 11:00"});

  EXPECT_EQ(kept(made, {.daily = 2}),
            (Texts{"2026-03-09 11:00", "2026-03-04 08:00"}));
  EXPECT_EQ(
      kept(made, {.last = 3}),
      (Texts{"2026-03-09 11:00", "2026-03-09 09:00", "2026-03-04 08:00"}));
}

TEST(Retention, KeepsTheOldestOfEachPeriodWhenToldTo) {
  const Snapshots made =
      every(hours(6), "2026-03-01 00:00", "2026-03-04 00:00");

  EXPECT_EQ(
      kept(made, {.daily = 3, .prefer = Prefer::oldest}),
      (Texts{"2026-03-04 00:00", "2026-03-03 00:00", "2026-03-02 00:00"}));
}

TEST(Retention, LetsEachRuleCountByItself) {
  const auto verdicts =
      verdict_of_each(snapshots_at({"2026-03-01 10:00", "2026-03-01 12:00",
                                    "2026-03-02 12:00"}),
                      {.last = 1, .daily = 2, .yearly = 1});

  EXPECT_EQ(verdicts.at("2026-03-02 12:00").reasons,
            (Texts{"last snapshot", "daily snapshot", "yearly snapshot",
                   "last complete of its series"}));
  EXPECT_EQ(verdicts.at("2026-03-01 12:00").reasons, Texts{"daily snapshot"});
  EXPECT_EQ(verdicts.at("2026-03-01 10:00").reasons, Texts{});
}

TEST(Retention, SaysOfAForgottenOneWhatEachRuleHasAgainstIt) {
  const auto verdicts =
      verdict_of_each(snapshots_at({"2026-03-01 10:00", "2026-03-01 12:00",
                                    "2026-03-02 12:00"}),
                      {.last = 1,
                       .daily = 2,
                       .weekly = 1,
                       .within = {.hours = 12},
                       .tags = {"monthly"}});

  EXPECT_EQ(verdicts.at("2026-03-01 10:00").objections,
            (Texts{"has no tag monthly", "within 12h: older",
                   "last: beyond the newest 1",
                   "daily: another one stands for 2026-03-01",
                   "weekly: beyond the newest 1"}));
  EXPECT_EQ(verdicts.at("2026-03-01 12:00").objections, Texts{});
}

TEST(Retention, NamesEveryKindOfPeriodInItsObjections) {
  const Snapshots made = snapshots_at({"2027-01-03 10:10", "2027-01-03 10:20"});
  const auto objection = [&](const RetentionPolicy& policy) {
    return verdict_of_each(made, policy).at("2027-01-03 10:10").objections;
  };
  RetentionPolicy policy;

  policy = {.hourly = 1};
  EXPECT_EQ(objection(policy),
            Texts{"hourly: another one stands for 2027-01-03 10h"});
  policy = {.weekly = 1};
  EXPECT_EQ(objection(policy),
            Texts{"weekly: another one stands for 2026-W53"});
  policy = {.monthly = 1};
  EXPECT_EQ(objection(policy),
            Texts{"monthly: another one stands for 2027-01"});
  policy = {.yearly = 1};
  EXPECT_EQ(objection(policy), Texts{"yearly: another one stands for 2027"});
}

TEST(Retention, KeepsTheOldestWhileARuleHasPlacesLeft) {
  const Snapshots made =
      every(hours(1), "2026-03-01 00:00", "2026-03-03 05:00");

  EXPECT_EQ(
      kept(made, {.daily = 3}),
      (Texts{"2026-03-03 05:00", "2026-03-02 23:00", "2026-03-01 23:00"}));
  EXPECT_EQ(kept(made, {.daily = 4}),
            (Texts{"2026-03-03 05:00", "2026-03-02 23:00", "2026-03-01 23:00",
                   "2026-03-01 00:00"}));
  EXPECT_EQ(verdict_of_each(made, {.daily = 4}).at("2026-03-01 00:00").reasons,
            Texts{"oldest daily snapshot"});
}

TEST(Retention, KeepsOneOfEveryPeriodWhenToldToKeepAll) {
  const Snapshots made =
      every(hours(6), "2026-03-01 00:00", "2026-03-03 18:00");

  EXPECT_EQ(kept(made, {.daily = RetentionPolicy::kAll}),
            (Texts{"2026-03-03 18:00", "2026-03-02 18:00", "2026-03-01 18:00",
                   "2026-03-01 00:00"}));
  EXPECT_EQ(kept(made, {.last = RetentionPolicy::kAll}).size(), made.size());
}

TEST(Retention, ForgetsNothingWithoutARule) {
  const Snapshots made =
      every(hours(6), "2026-03-01 00:00", "2026-03-03 18:00");
  const RetentionPolicy only_preferences{.week_on = Weekday::sunday,
                                         .prefer = Prefer::oldest};

  EXPECT_TRUE(only_preferences.is_empty());
  EXPECT_EQ(kept(made, only_preferences).size(), made.size());
  EXPECT_FALSE(RetentionPolicy{.tags = {"x"}}.is_empty());
  EXPECT_FALSE(RetentionPolicy{.within = {.hours = 1}}.is_empty());
  EXPECT_FALSE(RetentionPolicy{.yearly = RetentionPolicy::kAll}.is_empty());
}

TEST(Retention, RefusesATimeZoneThatIsNotKnown) {
  const RetentionPolicy policy{.daily = 7, .time_zone = "Europe/Atlantis"};

  EXPECT_THROW(kept({}, policy), std::invalid_argument);
}

TEST(Retention, CutsWeeksOnMondaysAcrossTheTurnOfTheYear) {
  // Week 53 of 2020 ran from 28 December to 3 January.
  const Snapshots made =
      every(hours(24), "2020-12-20 12:00", "2021-01-11 12:00");

  EXPECT_EQ(
      kept(made, {.weekly = 4}),
      at("12:00", {"2021-01-11", "2021-01-10", "2021-01-03", "2020-12-27"}));
}

TEST(Retention, CountsTheLeapDay) {
  const Snapshots made =
      every(hours(24), "2024-02-01 12:00", "2024-03-01 12:00");

  EXPECT_EQ(kept(made, {.daily = 2, .monthly = 2}),
            at("12:00", {"2024-03-01", "2024-02-29"}));
  EXPECT_EQ(kept(made, {.within = {.days = 1}}), at("12:00", {"2024-03-01"}));
  EXPECT_EQ(kept(made, {.within = {.days = 2}}),
            at("12:00", {"2024-03-01", "2024-02-29"}));
}

TEST(Retention, CutsPeriodsInTheTimeZoneGiven) {
  // July begins at 22:00 UTC in Berlin.
  const Snapshots made = snapshots_at(
      {"2026-06-30 21:59", "2026-06-30 22:01", "2026-06-30 23:59"});
  RetentionPolicy policy{.monthly = 1, .prefer = Prefer::oldest};

  EXPECT_EQ(kept(made, policy),
            (Texts{"2026-06-30 23:59", "2026-06-30 21:59"}));

  policy.time_zone = "Europe/Berlin";
  EXPECT_EQ(kept(made, policy),
            (Texts{"2026-06-30 23:59", "2026-06-30 22:01"}));
}

TEST(Retention, TakesTheHourThatTheClockShowsTwiceAsOne) {
  // Both have 02:00 to 03:00, local time, twice: Berlin from 00:00 UTC on 26
  // October 2025; New York 01:00 to 02:00, from 05:00 UTC on 2 November.
  const Snapshots berlin =
      every(minutes(30), "2025-10-25 23:00", "2025-10-26 02:30");
  const Snapshots new_york =
      every(minutes(30), "2025-11-02 04:00", "2025-11-02 07:30");

  EXPECT_EQ(
      kept(berlin, {.hourly = 3, .time_zone = "Europe/Berlin"}),
      (Texts{"2025-10-26 02:30", "2025-10-26 01:30", "2025-10-25 23:30"}));
  EXPECT_EQ(
      kept(new_york, {.hourly = 3, .time_zone = "America/New_York"}),
      (Texts{"2025-11-02 07:30", "2025-11-02 06:30", "2025-11-02 04:30"}));
}

TEST(Retention, KnowsNoHourThatTheClockSkips) {
  const Snapshots berlin =
      every(minutes(30), "2025-03-30 00:00", "2025-03-30 01:30");
  const Snapshots new_york =
      every(minutes(30), "2025-03-09 06:00", "2025-03-09 07:30");

  EXPECT_EQ(kept(berlin, {.hourly = 2, .time_zone = "Europe/Berlin"}),
            (Texts{"2025-03-30 01:30", "2025-03-30 00:30"}));
  EXPECT_EQ(kept(new_york, {.hourly = 2, .time_zone = "America/New_York"}),
            (Texts{"2025-03-09 07:30", "2025-03-09 06:30"}));
}

TEST(Retention, MakesDaysOf23And25Hours) {
  const Snapshots made =
      every(hours(1), "2025-01-01 00:00", "2025-12-31 23:00");
  const TimeZone zone("Europe/Berlin");
  std::map<std::pair<unsigned, unsigned>, int> on_day;
  for (const Candidate& snapshot : made) {
    const LocalTime t = zone.local_time(snapshot.time);
    ++on_day[{t.month, t.day}];
  }

  EXPECT_EQ((on_day[{3, 30}]), 23);
  EXPECT_EQ((on_day[{10, 26}]), 25);
  EXPECT_EQ((on_day[{10, 27}]), 24);
}

// In 2025 the clocks at Troll went back from 03:00 to 01:00. The hours shown
// twice are two apart, so each is a period of its own, as in restic.
TEST(Retention, TakesHoursShownTwiceButApartAsTwo) {
  const Snapshots made =
      every(minutes(30), "2025-10-25 23:00", "2025-10-26 02:30");

  EXPECT_EQ(kept(made, {.hourly = 4, .time_zone = "Antarctica/Troll"}),
            (Texts{"2025-10-26 02:30", "2025-10-26 01:30", "2025-10-26 00:30",
                   "2025-10-25 23:30"}));
}

TEST(Retention, FallsBackToAllOfAPeriodWithoutThatWeekday) {
  // Backups on weekdays only, but for Saturday the 14th.
  const Snapshots made =
      snapshots_at({"2026-03-05 12:00", "2026-03-06 12:00", "2026-03-12 12:00",
                    "2026-03-13 12:00", "2026-03-14 12:00", "2026-03-15 12:00",
                    "2026-03-19 12:00"});
  const RetentionPolicy newest{.weekly = 3, .week_on = Weekday::saturday};
  const RetentionPolicy oldest{
      .weekly = 3, .week_on = Weekday::saturday, .prefer = Prefer::oldest};

  EXPECT_EQ(kept(made, newest),
            at("12:00", {"2026-03-19", "2026-03-14", "2026-03-06"}));
  EXPECT_EQ(kept(made, oldest),
            at("12:00", {"2026-03-19", "2026-03-14", "2026-03-05"}));
}

TEST(Retention, AppliesTheWeekdayToWeeksMonthsAndYearsOnly) {
  const Snapshots made =
      every(hours(8), "2026-03-01 00:00", "2026-03-31 16:00");
  const Weekday sunday = Weekday::sunday;

  EXPECT_EQ(kept(made, {.daily = 2, .week_on = sunday}),
            kept(made, {.daily = 2}));
  EXPECT_EQ(kept(made, {.hourly = 2, .week_on = sunday}),
            kept(made, {.hourly = 2}));
  EXPECT_EQ(kept(made, {.yearly = 1, .week_on = sunday}),
            (Texts{"2026-03-31 16:00", "2026-03-29 16:00"}));
}

TEST(Retention, ReadsTheWeekdayInTheTimeZoneGiven) {
  // 22:30 UTC on a Saturday is Sunday in Berlin.
  const Snapshots made = snapshots_at(
      {"2026-06-06 22:30", "2026-06-07 22:30", "2026-06-08 22:30"});

  EXPECT_EQ(kept(made, {.monthly = 1,
                        .week_on = Weekday::sunday,
                        .time_zone = "Europe/Berlin"}),
            (Texts{"2026-06-08 22:30", "2026-06-06 22:30"}));
  EXPECT_EQ(kept(made, {.monthly = 1, .week_on = Weekday::sunday}),
            (Texts{"2026-06-08 22:30", "2026-06-07 22:30"}));
}

TEST(Retention, KeepsEverySnapshotWithOneOfTheTags) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00",
                                 "2026-03-03 10:00", "2026-03-04 10:00"});
  made[0].tags = {"release", "x"};
  made[1].tags = {"rel"};
  made[2].tags = {"x"};

  EXPECT_EQ(kept(made, {.tags = {"release"}}),
            (Texts{"2026-03-04 10:00", "2026-03-01 10:00"}));
  EXPECT_EQ(kept(made, {.tags = {"rel", "x"}}).size(), 4u);
}

TEST(Retention, CountsBackFromTheNewestAndLeavesOutTheVeryLimit) {
  const Snapshots made =
      every(hours(12), "2026-03-01 00:00", "2026-03-10 12:00");

  EXPECT_EQ(kept(made, {.within = {.days = 1}}),
            (Texts{"2026-03-10 12:00", "2026-03-10 00:00"}));
}

TEST(Retention, DoesNotLetATimeFromTheFutureMoveTheWindow) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-08 10:00",
                                 "2026-03-09 10:00", "2099-01-01 00:00"});
  made.back().arrival = utc("2026-03-08 12:00");

  EXPECT_EQ(
      kept(made, {.within = {.days = 2}}),
      (Texts{"2099-01-01 00:00", "2026-03-09 10:00", "2026-03-08 10:00"}));
}

TEST(Retention, KeepsAllWithinASpanWhenNoTimeCanBeBelieved) {
  Snapshots made = snapshots_at({"2099-01-01 10:00", "2099-03-01 10:00"});
  for (Candidate& snapshot : made) snapshot.arrival = utc("2026-03-08 12:00");

  EXPECT_EQ(kept(made, {.within = {.days = 2}}).size(), 2u);
}

TEST(Retention, KeepsTheLastArrivedCompleteOneOfEachSeries) {
  Snapshots made = snapshots_at(
      {"2026-03-01 10:00", "2026-03-02 10:00", "2026-03-03 10:00"});
  made[0].arrival = utc("2026-04-01 00:00");  // copied here later
  Candidate other = snapshot_at(utc("2020-01-01 00:00"));
  other.series = "other/db";
  made.push_back(other);

  EXPECT_EQ(
      kept(made, {.last = 1}),
      (Texts{"2026-03-03 10:00", "2026-03-01 10:00", "2020-01-01 00:00"}));
  EXPECT_EQ(kept(made, {.tags = {"none"}}),
            (Texts{"2026-03-01 10:00", "2020-01-01 00:00"}));
}

TEST(Retention, KeepsHeldOnesAndCountsThemLikeOthers) {
  Snapshots made = snapshots_at(
      {"2026-03-01 10:00", "2026-03-02 10:00", "2026-03-03 10:00"});
  made[0].is_held = true;
  made[2].is_held = true;

  EXPECT_EQ(kept(made, {.last = 1}),
            (Texts{"2026-03-03 10:00", "2026-03-01 10:00"}));
  EXPECT_EQ(verdict_of_each(made, {.last = 1}).at("2026-03-01 10:00").reasons,
            Texts{"held"});
}

TEST(Retention, LetsIncompleteOnesTakeNoPlace) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00",
                                 "2026-03-03 10:00", "2026-03-04 10:00"});
  made[1].is_complete = false;
  made[2].is_complete = false;

  EXPECT_EQ(kept(made, {.last = 2}),
            (Texts{"2026-03-04 10:00", "2026-03-01 10:00"}));
  EXPECT_EQ(kept(made, {.daily = 2}),
            (Texts{"2026-03-04 10:00", "2026-03-01 10:00"}));
}

TEST(Retention, KeepsIncompleteOnesUntilACompleteOneHasFollowed) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00",
                                 "2026-03-03 10:00", "2026-03-04 10:00"});
  for (const std::size_t i : {0u, 2u, 3u}) made[i].is_complete = false;

  EXPECT_EQ(
      kept(made, {.last = 5}),
      (Texts{"2026-03-04 10:00", "2026-03-03 10:00", "2026-03-02 10:00"}));

  made.push_back(snapshot_at(utc("2026-03-05 10:00")));

  EXPECT_EQ(kept(made, {.last = 5}),
            (Texts{"2026-03-05 10:00", "2026-03-02 10:00"}));
}

TEST(Retention, TakesFollowingToMeanBothTimeAndArrival) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00"});
  made[1].is_complete = false;
  made[0].arrival = utc("2026-04-01 00:00");  // an older state, copied later

  EXPECT_EQ(kept(made, {.last = 5}).size(), 2u);

  made[0].time = utc("2099-01-01 00:00");  // newer, so it says
  made[0].arrival = utc("2026-03-01 00:00");

  EXPECT_EQ(kept(made, {.last = 5}).size(), 2u);
}

TEST(Retention, KeepsIncompleteOnesOfASeriesWithoutCompleteOnes) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00"});
  for (Candidate& snapshot : made) snapshot.is_complete = false;

  EXPECT_EQ(kept(made, {.last = 1}).size(), 2u);
}

TEST(Retention, KeepsOlderIncompleteOnesByTagAndSpan) {
  Snapshots made = snapshots_at({"2026-03-01 10:00", "2026-03-02 10:00",
                                 "2026-03-03 10:00", "2026-03-04 10:00"});
  for (const std::size_t i : {0u, 1u, 2u}) made[i].is_complete = false;
  made[0].tags = {"evidence"};

  EXPECT_EQ(
      kept(made, {.within = {.days = 2}, .tags = {"evidence"}}),
      (Texts{"2026-03-04 10:00", "2026-03-03 10:00", "2026-03-01 10:00"}));
}

TEST(Retention, JudgesEachSeriesByItself) {
  Snapshots made = every(hours(24), "2026-03-01 10:00", "2026-03-05 10:00");
  const std::size_t count = made.size();
  for (std::size_t i = 0; i < count; ++i) {
    Candidate other = made[i];
    other.series = "aaa/first";
    other.id += " of the other";
    made.push_back(other);
  }

  EXPECT_EQ(
      kept(made, {.daily = 2}),
      (Texts{"2026-03-05 10:00 of the other", "2026-03-04 10:00 of the other",
             "2026-03-05 10:00", "2026-03-04 10:00"}));
}

TEST(Retention, SettlesEqualTimesByArrivalThenById) {
  Snapshots made = snapshots_at(
      {"2026-03-01 10:00", "2026-03-01 10:00", "2026-03-01 10:00"});
  made[0].id = "a";
  made[1].id = "b";
  made[2].id = "c";
  made[0].arrival = later(made[0].arrival, seconds(1));

  EXPECT_EQ(kept(made, {.last = 2}), (Texts{"a", "c"}));
}

}  // namespace
}  // namespace cairn::repo::retention_test
