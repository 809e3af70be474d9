#include "repo/calendar.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::TempFolder;
using testing_support::write_file;

// UTC.
Timestamp utc(int year, unsigned month, unsigned day, int hour = 0,
              int minute = 0) {
  using namespace std::chrono;
  const sys_seconds time = sys_days{year_month_day{std::chrono::year(year),
                                                   std::chrono::month(month),
                                                   std::chrono::day(day)}} +
                           hours(hour) + minutes(minute);
  return Timestamp{time.time_since_epoch().count(), 0};
}

TEST(CalendarSpan, ReadsYearsMonthsDaysAndHours) {
  EXPECT_EQ(parse_calendar_span("1y5m7d2h"), (CalendarSpan{1, 5, 7, 2}));
  EXPECT_EQ(parse_calendar_span("30d"), (CalendarSpan{0, 0, 30, 0}));
  EXPECT_EQ(parse_calendar_span("1y6m"), (CalendarSpan{1, 6, 0, 0}));
  EXPECT_EQ(parse_calendar_span("12h"), (CalendarSpan{0, 0, 0, 12}));
  EXPECT_EQ(parse_calendar_span("2h1y"), (CalendarSpan{1, 0, 0, 2}));
  EXPECT_EQ(parse_calendar_span("007d"), (CalendarSpan{0, 0, 7, 0}));
  EXPECT_EQ(parse_calendar_span("0d"), CalendarSpan{});
  EXPECT_EQ(parse_calendar_span("9999999h"),
            (CalendarSpan{0, 0, 0, 9'999'999}));
}

TEST(CalendarSpan, RefusesWhatIsNoSpan) {
  for (const std::string_view text :
       {"", " ", "d", "30", "30 d", " 30d", "30d ", "-3d", "+3d", "3w", "3D",
        "3s", "1d2d", "1.5d", "1d,2h", "1y5", "10000000h",
        "99999999999999999999d"}) {
    EXPECT_EQ(parse_calendar_span(text), std::nullopt) << '"' << text << '"';
  }
}

TEST(CalendarSpan, ReadsBackAsItIsWritten) {
  for (const std::string_view text : {"1y5m7d2h", "30d", "1y6m", "0h"}) {
    EXPECT_EQ(to_string(parse_calendar_span(text).value()), text);
  }
}

TEST(Weekday, IsReadFromItsNameLongOrShort) {
  EXPECT_EQ(parse_weekday("sunday"), Weekday::sunday);
  EXPECT_EQ(parse_weekday("Sat"), Weekday::saturday);
  EXPECT_EQ(parse_weekday("WEDNESDAY"), Weekday::wednesday);
  EXPECT_EQ(parse_weekday("thur"), std::nullopt);
  EXPECT_EQ(parse_weekday(""), std::nullopt);
  EXPECT_EQ(parse_weekday("0"), std::nullopt);
}

TEST(TimeZone, RefusesANameThatTheSystemDoesNotKnow) {
  EXPECT_THROW(TimeZone("Europe/Atlantis"), std::invalid_argument);
  EXPECT_THROW(TimeZone(""), std::invalid_argument);
  EXPECT_THROW(TimeZone("../../../etc/passwd"), std::invalid_argument);
}

TEST(TimeZone, ShowsTheFieldsOfTheWallClock) {
  const LocalTime t =
      TimeZone("Asia/Kolkata").local_time(utc(2024, 2, 28, 20, 45));

  EXPECT_EQ(t.year, 2024);
  EXPECT_EQ(t.month, 2u);
  EXPECT_EQ(t.day, 29u);
  EXPECT_EQ(t.hour, 2u);  // 02:15, five and a half hours ahead
  EXPECT_EQ(t.weekday, Weekday::thursday);
  EXPECT_EQ(t.week_year, 2024);
  EXPECT_EQ(t.week, 9u);
}

TEST(TimeZone, CountsWeeksAsIso8601Does) {
  struct Row {
    int year;
    unsigned month, day;
    int week_year;
    unsigned week;
  };
  const TimeZone zone("UTC");
  for (const Row& row : std::vector<Row>{{2005, 1, 1, 2004, 53},
                                         {2005, 1, 2, 2004, 53},
                                         {2005, 12, 31, 2005, 52},
                                         {2007, 1, 1, 2007, 1},
                                         {2008, 12, 29, 2009, 1},
                                         {2010, 1, 3, 2009, 53},
                                         {2015, 12, 31, 2015, 53},
                                         {2016, 1, 3, 2015, 53},
                                         {2016, 1, 4, 2016, 1},
                                         {2020, 12, 31, 2020, 53},
                                         {2021, 1, 3, 2020, 53},
                                         {2024, 12, 30, 2025, 1},
                                         {2026, 12, 31, 2026, 53},
                                         {2027, 1, 3, 2026, 53}}) {
    const LocalTime t = zone.local_time(utc(row.year, row.month, row.day, 12));
    EXPECT_EQ(t.week_year, row.week_year) << row.year << row.month << row.day;
    EXPECT_EQ(t.week, row.week) << row.year << row.month << row.day;
  }
}

TEST(TimeZone, TakesTimesOutsideTheCalendarAsTheNearestInside) {
  const TimeZone zone("UTC");

  EXPECT_EQ(zone.local_time(Timestamp{INT64_MIN, 0}).year, 0);
  EXPECT_EQ(zone.local_time(Timestamp{INT64_MAX, 0}).year, 9999);
  EXPECT_EQ(zone.local_time(utc(-5, 3, 1)).year, 0);
  EXPECT_EQ(zone.local_time(utc(1969, 12, 31, 23)).hour, 23u);
}

// FORMAT.md, 13.4: no rule is read, only what changes are listed.
TEST(TimeZone, HasNoDaylightSavingAfterTheLastChangeThatIsListed) {
  const TimeZone berlin("Europe/Berlin");
  EXPECT_EQ(berlin.local_time(utc(2037, 7, 1, 12)).hour, 14U);
  EXPECT_EQ(berlin.local_time(utc(2037, 12, 1, 12)).hour, 13U);
  EXPECT_EQ(berlin.local_time(utc(2038, 7, 1, 12)).hour, 13U);
  EXPECT_EQ(berlin.local_time(utc(2100, 7, 1, 12)).hour, 13U);
}

TEST(TimeZone, SubtractsFieldByField) {
  const TimeZone zone("UTC");
  using Span = CalendarSpan;

  EXPECT_EQ(zone.before(utc(2024, 7, 31, 5), Span{1, 2, 3, 4}),
            utc(2023, 5, 28, 1));
  EXPECT_EQ(zone.before(utc(2024, 1, 1), Span{0, 1, 0, 0}), utc(2023, 12, 1));
  EXPECT_EQ(zone.before(utc(2024, 3, 1), Span{0, 0, 1, 0}), utc(2024, 2, 29));
  EXPECT_EQ(zone.before(utc(2024, 3, 1), Span{0, 0, 0, 1}),
            utc(2024, 2, 29, 23));
  EXPECT_EQ(zone.before(Timestamp{86'400, 7}, Span{0, 0, 1, 0}),
            (Timestamp{0, 7}));
}

TEST(TimeZone, LetsADayThatTheMonthLacksRunOver) {
  const TimeZone zone("UTC");
  using Span = CalendarSpan;

  EXPECT_EQ(zone.before(utc(2023, 3, 31), Span{0, 1, 0, 0}), utc(2023, 3, 3));
  EXPECT_EQ(zone.before(utc(2024, 3, 31), Span{0, 1, 0, 0}), utc(2024, 3, 2));
  EXPECT_EQ(zone.before(utc(2024, 2, 29), Span{1, 0, 0, 0}), utc(2023, 3, 1));
  EXPECT_EQ(zone.before(utc(2024, 2, 29), Span{4, 0, 0, 0}), utc(2020, 2, 29));
}

// Recorded from restic 0.14 and 0.18.
TEST(TimeZone, SubtractsAcrossChangesOfOffset) {
  const TimeZone berlin("Europe/Berlin"), new_york("America/New_York");
  using Span = CalendarSpan;

  // A day is a day of the calendar, an hour an hour of the clock in hand.
  EXPECT_EQ(berlin.before(utc(2025, 10, 27, 11), Span{0, 0, 1, 0}),
            utc(2025, 10, 26, 11));
  EXPECT_EQ(berlin.before(utc(2025, 10, 26, 11), Span{0, 0, 1, 0}),
            utc(2025, 10, 25, 10));
  EXPECT_EQ(berlin.before(utc(2025, 10, 26, 11), Span{0, 0, 0, 24}),
            utc(2025, 10, 25, 11));
  // 02:30 did not exist on 30 March in Berlin, nor on 9 March in New York.
  EXPECT_EQ(berlin.before(utc(2025, 4, 30, 0, 30), Span{0, 0, 31, 0}),
            utc(2025, 3, 30, 1, 30));
  EXPECT_EQ(new_york.before(utc(2025, 4, 9, 6, 30), Span{0, 1, 0, 0}),
            utc(2025, 3, 9, 6, 30));
  // 02:30 came twice on 26 October in Berlin, 01:30 on 2 November in New York.
  EXPECT_EQ(berlin.before(utc(2025, 11, 5, 1, 30), Span{0, 0, 10, 0}),
            utc(2025, 10, 26, 1, 30));
  EXPECT_EQ(new_york.before(utc(2025, 12, 2, 6, 30), Span{0, 1, 0, 0}),
            utc(2025, 11, 2, 5, 30));
}

TEST(TimeZone, SubtractsMoreThanThereIs) {
  const TimeZone zone("Europe/Berlin");
  constexpr int kMost = 9'999'999;

  EXPECT_LT(zone.before(utc(2026, 1, 1), CalendarSpan{3000, 0, 0, 0}),
            utc(1, 1, 1));
  EXPECT_LT(
      zone.before(utc(2026, 1, 1), CalendarSpan{kMost, kMost, kMost, kMost}),
      utc(1, 1, 1));
  EXPECT_LT(zone.before(utc(2026, 1, 1), CalendarSpan{0, 0, kMost, kMost}),
            utc(1, 1, 1));
}

TEST(LocalTimeZone, IsTheOneThatTheEnvironmentNames) {
  for (const auto& [variable, zone] :
       std::vector<std::tuple<const char*, const char*>>{
           {"America/New_York", "America/New_York"},
           {":Europe/Berlin", "Europe/Berlin"},
           {"/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"},
           {":/usr/share/zoneinfo/posix/Asia/Kolkata", "Asia/Kolkata"},
           {"", "UTC"},
           {"UTC0", "UTC"},
           {"MSK-3", "Etc/GMT-3"},
           {"<+03>-3", "Etc/GMT-3"},
           {"<-05>5", "Etc/GMT+5"},
           {":/nowhere/localtime", "UTC"}}) {
    EXPECT_EQ(local_time_zone(variable), zone) << variable;
  }
}

TEST(LocalTimeZone, IsNoneWhereTheDatabaseHasNoNameForIt) {
  for (const char* const variable :
       {"CET-1CEST,M3.5.0,M10.5.0/3", "IST-5:30", "XXX-15", "<+03", "<>", "A1",
        "Europe/Atlantis"}) {
    EXPECT_EQ(local_time_zone(variable), std::nullopt) << variable;
  }
}

TEST(LocalTimeZone, OfACopyIsFoundByItsBytes) {
  const TempFolder folder;
  const auto copy = folder.path() / "localtime";
  std::filesystem::copy_file("/usr/share/zoneinfo/Asia/Kolkata", copy);

  const auto zone = local_time_zone(copy.string());

  ASSERT_TRUE(zone);
  const Timestamp noon = utc(2026, 1, 1);
  EXPECT_EQ(TimeZone(*zone).local_time(noon).hour,
            TimeZone("Asia/Kolkata").local_time(noon).hour);

  write_file(copy, "of nowhere");
  EXPECT_EQ(local_time_zone(copy.string()), std::nullopt);
}

TEST(LocalTimeZone, OfThisMachineIsOneThatIsKnown) {
  const auto zone = local_time_zone(std::nullopt);
  ASSERT_TRUE(zone);
  EXPECT_NO_THROW(TimeZone{*zone});
}

}  // namespace
}  // namespace cairn::repo
