#include "service/timetable.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <string>
#include <vector>

#include "tests/service/random_line.h"
#include "tests/service/wall_clock.h"
#include "tests/support/for_each_seed.h"

namespace cairn::service {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

constexpr const char* kBerlin = "Europe/Berlin";

Moment utc(const char* text) {
  std::tm time{};
  if (::strptime(text, "%Y-%m-%d %H:%M:%S", &time) == nullptr &&
      ::strptime(text, "%Y-%m-%d %H:%M", &time) == nullptr) {
    throw std::runtime_error(text);
  }
  return Moment(seconds(::timegm(&time)));
}

std::string text_of(Moment moment) {
  const std::time_t time = moment.time_since_epoch().count();
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

Texts due(const Timetable& table, const char* after, std::size_t count) {
  Texts texts;
  Moment moment = utc(after);
  while (texts.size() < count) {
    moment = table.next_after(moment);
    texts.push_back(text_of(moment));
  }
  return texts;
}

std::string refusal(const std::string& line, const std::string& zone = "UTC") {
  try {
    const Timetable table(line, zone);
  } catch (const TimetableError& e) {
    return e.what();
  }
  return "none";
}

TEST(Timetable, IsDueByItsFields) {
  EXPECT_EQ(
      due({"7 * * * *", "UTC"}, "2026-12-31 22:07", 3),
      (Texts{"2026-12-31 23:07", "2027-01-01 00:07", "2027-01-01 01:07"}));
  EXPECT_EQ(due({"0 3 * * sun", "UTC"}, "2026-11-27 12:00", 2),
            (Texts{"2026-11-29 03:00", "2026-12-06 03:00"}));
  EXPECT_EQ(due({"*/20 9-17/8 * jan-feb 1-5", "UTC"}, "2026-11-27 12:00", 7),
            (Texts{"2027-01-01 09:00", "2027-01-01 09:20", "2027-01-01 09:40",
                   "2027-01-01 17:00", "2027-01-01 17:20", "2027-01-01 17:40",
                   "2027-01-04 09:00"}));
  EXPECT_EQ(due({"5,1-3 0 1 1 *", "UTC"}, "2026-11-27 12:00", 5),
            (Texts{"2027-01-01 00:01", "2027-01-01 00:02", "2027-01-01 00:03",
                   "2027-01-01 00:05", "2028-01-01 00:01"}));
  EXPECT_EQ(due({"0 0 * * 7", "UTC"}, "2026-11-27 12:00", 1),
            (Texts{"2026-11-29 00:00"}));
  EXPECT_EQ(
      due({"0 0 * * 5-7", "UTC"}, "2026-11-27 12:00", 3),
      (Texts{"2026-11-28 00:00", "2026-11-29 00:00", "2026-12-04 00:00"}));
  EXPECT_EQ(due({"0 0 * * fri-sun", "UTC"}, "2026-11-27 12:00", 2),
            (Texts{"2026-11-28 00:00", "2026-11-29 00:00"}));
}

TEST(Timetable, KnowsTheWordsOfCron) {
  EXPECT_EQ(Timetable("@daily", "UTC").text(), "0 0 * * *");
  EXPECT_EQ(Timetable("@WEEKLY", "UTC").text(), "0 0 * * 0");
  EXPECT_EQ(Timetable(" 0\t2  *  * SUN ", "UTC").text(), "0 2 * * sun");
}

TEST(Timetable, TakesEitherKindOfDayOnlyWhereBothAreChosen) {
  EXPECT_EQ(due({"0 0 13 * fri", "UTC"}, "2026-11-10 00:00", 4),
            (Texts{"2026-11-13 00:00", "2026-11-20 00:00", "2026-11-27 00:00",
                   "2026-12-04 00:00"}));
  EXPECT_EQ(
      due({"0 0 */2 * fri", "UTC"}, "2026-11-10 00:00", 3),
      (Texts{"2026-11-13 00:00", "2026-11-27 00:00", "2026-12-11 00:00"}));
}

TEST(Timetable, FindsLeapDays) {
  EXPECT_EQ(
      due({"0 2 29 2 *", "UTC"}, "2026-11-10 00:00", 3),
      (Texts{"2028-02-29 02:00", "2032-02-29 02:00", "2036-02-29 02:00"}));
  EXPECT_EQ(due({"0 2 29 2 *", "UTC"}, "2096-03-01 00:00", 1),
            (Texts{"2104-02-29 02:00"}));
  // A Sunday, too: the step makes it "and".
  EXPECT_EQ(due({"0 2 29 2 */7", "UTC"}, "2026-11-10 00:00", 1),
            (Texts{"2032-02-29 02:00"}));
  EXPECT_EQ(due({"0 2 31 * *", "UTC"}, "2026-08-31 02:00", 2),
            (Texts{"2026-10-31 02:00", "2026-12-31 02:00"}));
}

TEST(Timetable, RunsATimeThatTheClockSkipsAtTheChange) {
  EXPECT_EQ(
      due({"30 2 * * *", kBerlin}, "2026-03-28 00:00", 3),
      (Texts{"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"}));
  EXPECT_EQ(due({"*/15 2 * * *", kBerlin}, "2026-03-28 23:00", 2),
            (Texts{"2026-03-29 01:00", "2026-03-30 00:00"}));
  EXPECT_EQ(due({"0 3 * * *", kBerlin}, "2026-03-28 23:00", 2),
            (Texts{"2026-03-29 01:00", "2026-03-30 01:00"}));
}

TEST(Timetable, RunsATimeThatTheClockRepeatsOnce) {
  EXPECT_EQ(
      due({"30 2 * * *", kBerlin}, "2026-10-24 00:00", 3),
      (Texts{"2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"}));
  EXPECT_EQ(
      due({"0 2-3 * * *", kBerlin}, "2026-10-24 23:00", 3),
      (Texts{"2026-10-25 00:00", "2026-10-25 02:00", "2026-10-26 01:00"}));
}

TEST(Timetable, RunsEveryHourThroughBothChanges) {
  EXPECT_EQ(due({"7 * * * *", kBerlin}, "2026-03-29 00:00", 2),
            (Texts{"2026-03-29 00:07", "2026-03-29 01:07"}));
  EXPECT_EQ(
      due({"7 * * * *", kBerlin}, "2026-10-24 23:30", 3),
      (Texts{"2026-10-25 00:07", "2026-10-25 01:07", "2026-10-25 02:07"}));
}

TEST(Timetable, SaysHowLongOneWaitsAtMost) {
  const auto from = utc("2026-11-27 12:00");
  EXPECT_EQ(Timetable("7 * * * *", kBerlin).longest_wait(from), hours(1));
  EXPECT_EQ(Timetable("0 2 * * *", "UTC").longest_wait(from), hours(24));
  EXPECT_EQ(Timetable("0 4 * * *", kBerlin).longest_wait(from), hours(25));
  EXPECT_EQ(Timetable("0 2 1 * *", "UTC").longest_wait(from), hours(31 * 24));
  EXPECT_EQ(Timetable("*/5 * * * *", kBerlin).longest_wait(from), minutes(5));
}

TEST(Timetable, AnswersTimesBeyondAllCalendars) {
  const Timetable table("0 2 * * *", kBerlin);
  EXPECT_GT(table.next_after(Moment::max()), utc("2026-01-01 00:00"));
  EXPECT_LT(table.last_until(Moment::min()), utc("1970-01-03 00:00"));
}

TEST(Timetable, SaysWhatIsWrongWithALine) {
  const auto expect = [](const std::string& line, const std::string& part) {
    const auto said = refusal(line);
    EXPECT_NE(said.find(part), said.npos) << line << ": " << said;
  };
  expect("", "empty");
  expect("0 2 * *", "five fields, minute hour day month weekday, and not 4");
  expect("0 0 2 * * *", "and not 6; it has no seconds");
  expect("60 * * * *", "minute '60': 60 is not within 0 to 59");
  expect("0 24 * * *", "midnight is 0");
  expect("0 0 0 * *", "day '0': 0 is not within 1 to 31");
  expect("0 0 * 13 *", "month '13': 13 is not within 1 to 12");
  expect("0 0 * * 8", "weekday '8': 8 is not within 0 to 7");
  expect("0 0 * * monday", "did you mean 'mon'?");
  expect("0 0 * * xyz", "nor one of sun, mon");
  expect("0 0 * sept *", "did you mean 'sep'?");
  expect("0 mon * * *", "hour 'mon': 'mon' is no number from 0 to 23");
  expect("0 22-4 * * *", "runs backwards; write 22-23,0-4");
  expect("*/0 * * * *", "a step of 0 leads nowhere");
  expect("*/x * * * *", "a number is due after '/'");
  expect("*/90 * * * *", "the step 90 is more than there are");
  expect("5/15 * * * *", "write 5-59/N");
  expect("1,,2 * * * *", "something before and after each ','");
  expect("1- * * * *", "a range has two ends");
  expect("1-2-3 * * * *", "is no range");
  expect("*/2/3 * * * *", "one step is enough");
  expect("0 0 L * *", "cron knows no ?, L, W and #");
  expect("0 0 ? * *", "cron knows no ?, L, W and #");
  expect("*1 * * * *", "* stands by itself");
  expect("99999999999999999999 * * * *", "no number");
  expect("@reboot", "is none of @hourly");
  expect("@daily 0", "is none of @hourly");
  expect("0 0 30 2 *", "never due");
  expect("0 0 31 4,6,9,11 *", "never due");
  expect(std::string(600, '0'), "longer than 512 bytes");
  expect("0 0 * * \x1b[31m", "weekday '?[31m'");
  EXPECT_NE(refusal("0 2 * * *", "Europe/Berlim").find("no such zone"),
            std::string::npos);
}

// Every minute of some days, looked at one by one, by another library's clock.
TEST(Timetable, AgreesWithAClockThatIsLookedAtEveryMinute) {
  testing_support::for_each_seed(400, [](std::mt19937_64& random) {
    const auto line = random_line(random);
    const WallClock clock(random_zone(random));
    SCOPED_TRACE(line.text + " in " + clock.zone());
    const Timetable table(line.text, clock.zone());
    const Moment from = clock.interesting_moment(random);
    const Moment until = from + hours(24 * 4);

    const auto expected = clock.due(line, from, until);
    std::vector<Moment> found;
    for (Moment at = table.next_after(from - seconds(1)); at < until;
         at = table.next_after(at)) {
      found.push_back(at);
    }

    ASSERT_EQ(found, expected);
    for (std::size_t i = 1; i < found.size(); ++i) {
      const auto wait = (found[i] - found[i - 1]) / 2;
      ASSERT_EQ(table.last_until(found[i]), found[i]);
      ASSERT_EQ(table.last_until(found[i] - seconds(1)), found[i - 1]);
      ASSERT_EQ(table.next_after(found[i - 1] + wait), found[i]);
    }
  });
}

TEST(Timetable, NamesTheMomentsThatNoPlainCalendarKnows) {
  const auto irregular = [](const char* line) {
    Texts texts;
    for (const auto moment : Timetable(line, kBerlin)
                                 .irregular_between(utc("2026-01-01 00:00"),
                                                    utc("2027-01-01 00:00"))) {
      texts.push_back(text_of(moment));
    }
    return texts;
  };
  EXPECT_EQ(irregular("30 2 * * *"), (Texts{"2026-03-29 01:00"}));
  EXPECT_EQ(irregular("0 2,3 * * *"), Texts());
  EXPECT_EQ(irregular("0 4 * * *"), Texts());
  EXPECT_EQ(irregular("*/30 * * * *"),
            (Texts{"2026-10-25 01:00", "2026-10-25 01:30"}));
  EXPECT_FALSE(Timetable("0 * * * *", "Australia/Lord_Howe")
                   .has_whole_hours_between(utc("2026-01-01 00:00"),
                                            utc("2027-01-01 00:00")));
  EXPECT_TRUE(Timetable("0 * * * *", kBerlin)
                  .has_whole_hours_between(utc("2026-01-01 00:00"),
                                           utc("2037-01-01 00:00")));
}

}  // namespace
}  // namespace cairn::service
