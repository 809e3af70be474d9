// What the policies of docs/examples do in a year of runs: the tables of the
// five plans that this project was made for.
#include "cli/policy_future.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/config/configuration.h"
#include "tests/repo/retention_snapshots.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using repo::retention_test::text_of;
using repo::retention_test::Texts;
using repo::retention_test::utc;
using std::chrono::hours;

config::Configuration example(const std::string& name) {
  std::ifstream in(fs::path(CAIRN_DOCS_DIR) / "examples" / (name + ".yaml"));
  std::ostringstream text;
  text << in.rdbuf();
  config::Mistakes mistakes;
  auto made =
      config::read_configuration(text.str(), name, {"vm", "UTC"}, mistakes);
  if (!made) throw std::runtime_error(name + " has mistakes");
  return std::move(*made);
}

// The times of what is left of a year in which the job ran at that rhythm.
Texts left_of_2026(const std::string& file, const std::string& job,
                   std::chrono::seconds every, const std::string& first,
                   const std::string& last = "2026-12-31 23:59") {
  const auto all = example(file);
  auto rules = all.policy(*all.job(job)->policy)->rules;
  rules.time_zone = "UTC";
  Texts times;
  for (const auto& left :
       simulate(rules, utc(first), steadily(every), utc(last)).left) {
    times.push_back(text_of(left.time));
  }
  return times;
}

Texts at(const std::string& hour, const Texts& days) {
  Texts times;
  for (const auto& day : days) times.push_back(day + " " + hour);
  return times;
}

Texts operator+(Texts a, const Texts& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Texts kLastSevenDays{"2026-12-31", "2026-12-30", "2026-12-29",
                           "2026-12-28", "2026-12-27", "2026-12-26",
                           "2026-12-25"};

TEST(PolicyFuture, KeepsAWeekOfDaysAMonthOfWeeksAYearOfMonths) {
  EXPECT_EQ(left_of_2026("letta", "daily", hours(24), "2026-01-01 03:00"),
            at("03:00",
               kLastSevenDays + Texts{"2026-12-20", "2026-12-13", "2026-11-30",
                                      "2026-10-31", "2026-09-30", "2026-08-31",
                                      "2026-07-31", "2026-06-30", "2026-05-31",
                                      "2026-04-30", "2026-03-31", "2026-02-28",
                                      "2026-01-31"}));
}

TEST(PolicyFuture, Keeps24HoursSevenDaysFourWeeksSixMonths) {
  const auto left = left_of_2026("letta-disaster-recovery", "hourly", hours(1),
                                 "2026-01-01 00:00");

  ASSERT_EQ(left.size(), 24u + 13u);
  EXPECT_EQ(left.front(), "2026-12-31 23:00");
  EXPECT_EQ(left[23], "2026-12-31 00:00");
  EXPECT_EQ(Texts(left.begin() + 24, left.end()),
            at("23:00", {"2026-12-30", "2026-12-29", "2026-12-28", "2026-12-27",
                         "2026-12-26", "2026-12-25", "2026-12-20", "2026-12-13",
                         "2026-11-30", "2026-10-31", "2026-09-30", "2026-08-31",
                         "2026-07-31"}));
}

TEST(PolicyFuture, KeepsEachScheduleForItsOwnTime) {
  const auto hourly =
      left_of_2026("pa-ecosystem", "hourly", hours(1), "2026-01-01 00:00");
  const auto daily =
      left_of_2026("pa-ecosystem", "daily", hours(24), "2026-01-01 02:00");
  const auto weekly =
      left_of_2026("pa-ecosystem", "weekly", hours(168), "2026-01-04 03:00");
  const auto monthly = left_of_2026("pa-ecosystem", "monthly", hours(24 * 30),
                                    "2025-01-01 04:00");

  EXPECT_EQ(hourly.size(), 7u * 24u);
  EXPECT_EQ(hourly.back(), "2026-12-25 00:00");
  EXPECT_EQ(daily.size(), 30u);
  EXPECT_EQ(daily.back(), "2026-12-02 02:00");
  EXPECT_EQ(weekly.size(), 13u);
  EXPECT_EQ(weekly.back(), "2026-10-04 03:00");
  EXPECT_EQ(monthly.size(), 13u);
}

TEST(PolicyFuture, KeepsSundaysAndTheFirstSundayOfEachMonth) {
  EXPECT_EQ(left_of_2026("temponest", "daily", hours(24), "2026-01-01 02:00"),
            at("02:00",
               kLastSevenDays + Texts{"2026-12-20", "2026-12-13", "2026-12-06",
                                      "2026-11-01", "2026-10-04", "2026-09-06",
                                      "2026-08-02", "2026-07-05", "2026-06-07",
                                      "2026-05-03", "2026-04-05", "2026-03-01",
                                      "2026-02-01", "2026-01-04"}));
}

TEST(PolicyFuture, KeepsFourJobsByFourPolicies) {
  const auto hourly =
      left_of_2026("somaagent", "hourly", hours(1), "2026-01-01 00:00");

  EXPECT_EQ(hourly.size(), 24u);
  EXPECT_EQ(hourly.back(), "2026-12-31 00:00");
  EXPECT_EQ(left_of_2026("somaagent", "daily", hours(24), "2026-01-01 01:00"),
            at("01:00", kLastSevenDays));
  EXPECT_EQ(
      left_of_2026("somaagent", "weekly", hours(168), "2026-01-04 04:00"),
      at("04:00", {"2026-12-27", "2026-12-20", "2026-12-13", "2026-12-06"}));
  EXPECT_EQ(left_of_2026("somaagent", "monthly", hours(24), "2026-01-01 05:00")
                .size(),
            12u);
}

TEST(PolicyFuture, NeverHasMoreThanThePolicyAllows) {
  const auto simulation =
      simulate({.daily = 7, .weekly = 4}, utc("2026-01-01 02:00"),
               steadily(hours(24)), utc("2026-12-31 02:00"));

  EXPECT_EQ(simulation.runs, 365u);
  EXPECT_LE(simulation.most, 11u);
  EXPECT_EQ(simulation.left.front().reasons.back(),
            "last complete of its series");
}

TEST(PolicyFuture, TellsWhyOneStaysAndUntilWhen) {
  using repo::retention_test::every;
  const auto made =
      every(hours(24), "2026-03-01 02:00", "2026-03-15 02:00");  // Sundays
  const repo::RetentionPolicy policy{.daily = 3, .weekly = 2};

  const auto fate =
      fate_of(made, made.size() - 1, policy, utc("2026-03-15 02:00"),
              steadily(hours(24)), utc("2027-03-15 02:00"));

  ASSERT_GE(fate.phases.size(), 2u);
  EXPECT_EQ(fate.phases[0].reasons, (Texts{"daily snapshot", "weekly snapshot",
                                           "last complete of its series"}));
  EXPECT_EQ(fate.phases.back().reasons, Texts{"weekly snapshot"});
  EXPECT_EQ(text_of(fate.phases.back().from), "2026-03-18 02:00");
  // Two later weeks have begun: those of the 16th and the 23rd.
  ASSERT_TRUE(fate.until);
  EXPECT_EQ(text_of(*fate.until), "2026-03-23 02:00");
}

TEST(PolicyFuture, SaysOfOneThatGoesNextThatNothingKeepsIt) {
  using repo::retention_test::every;
  const auto made = every(hours(24), "2026-03-01 02:00", "2026-03-15 02:00");

  const auto fate = fate_of(made, 0, {.last = 3}, utc("2026-03-15 02:00"),
                            steadily(hours(24)), utc("2027-03-15 02:00"));

  EXPECT_TRUE(fate.phases.empty());
  EXPECT_TRUE(fate.until);
}

TEST(PolicyFuture, KnowsNoEndOfWhatStays) {
  using repo::retention_test::every;
  const auto made = every(hours(24), "2026-03-01 02:00", "2026-03-15 02:00");

  const auto fate = fate_of(
      made, 0,
      {.yearly = repo::RetentionPolicy::kAll, .prefer = repo::Prefer::oldest},
      utc("2026-03-15 02:00"), steadily(hours(24)), utc("2028-03-15 02:00"));

  EXPECT_FALSE(fate.until);
  EXPECT_FALSE(fate.phases.empty());
}

TEST(PolicyFuture, RunsByATimetable) {
  const service::Timetable sundays("0 3 * * sun", "Europe/Berlin");
  const auto simulation = simulate({.last = 2}, utc("2026-03-22 02:00"),
                                   by(sundays), utc("2026-04-06 00:00"));

  ASSERT_EQ(simulation.left.size(), 2u);
  EXPECT_EQ(text_of(simulation.left[0].time), "2026-04-05 01:00");
  EXPECT_EQ(text_of(simulation.left[1].time), "2026-03-29 01:00");
  EXPECT_EQ(
      count_runs(utc("2026-03-22 02:00"), by(sundays), utc("2026-04-06 00:00")),
      3u);
}

TEST(PolicyFuture, TakesTheRhythmFromTheSnapshotsThereAre) {
  using repo::retention_test::every;
  EXPECT_EQ(rhythm_of(every(hours(6), "2026-03-01 02:00", "2026-03-15 02:00")),
            hours(6));
  EXPECT_EQ(rhythm_of(every(hours(6), "2026-03-01 02:00", "2026-03-01 08:00")),
            std::nullopt);
}

}  // namespace
}  // namespace cairn::cli
