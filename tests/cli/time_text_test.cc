#include "cli/time_text.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <limits>

namespace cairn::cli {
namespace {

constexpr repo::Timestamp kNoon{1'795'176'000, 0};  // 2026-11-20T12:00:00Z

void set_zone(const char* name) {
  ::setenv("TZ", name, 1);
  ::tzset();
}

TEST(TimeText, GivesProgramsUtc) {
  set_zone("Asia/Kathmandu");

  EXPECT_EQ(rfc3339(kNoon), "2026-11-20T12:00:00Z");
  EXPECT_EQ(rfc3339({kNoon.seconds, 1'000}), "2026-11-20T12:00:00.000001000Z");
}

TEST(TimeText, GivesPeopleTheLocalClockWithItsZone) {
  set_zone("Asia/Kathmandu");
  EXPECT_EQ(local_time_text(kNoon), "2026-11-20 17:45:00 +05:45");
  set_zone("America/St_Johns");
  EXPECT_EQ(local_time_text(kNoon), "2026-11-20 08:30:00 -03:30");
}

TEST(TimeText, ShowsAnyTimeThatASnapshotMayHold) {
  constexpr auto kLimits = std::numeric_limits<std::int64_t>();
  EXPECT_EQ(rfc3339({kLimits.max(), 0}), "9999-12-31T23:59:59Z");
  EXPECT_EQ(rfc3339({kLimits.min(), 0}), "0000-01-01T00:00:00Z");
  EXPECT_NE(local_time_text({kLimits.max(), 0}), "");
  EXPECT_NE(relative_time_text({kLimits.min(), 0}, {kLimits.max(), 0}), "");
}

TEST(TimeText, SaysHowLongAgo) {
  const auto ago = [](std::int64_t seconds) {
    return relative_time_text({kNoon.seconds - seconds, 0}, kNoon);
  };
  EXPECT_EQ(ago(0), "just now");
  EXPECT_EQ(ago(59), "just now");
  EXPECT_EQ(ago(60), "1 minute ago");
  EXPECT_EQ(ago(7'199), "1 hour ago");
  EXPECT_EQ(ago(172'800), "2 days ago");
  EXPECT_EQ(ago(100 * 86'400), "3 months ago");
  EXPECT_EQ(ago(800 * 86'400), "2 years ago");
  EXPECT_EQ(ago(-3'600), "in 1 hour");
}

TEST(TimeText, ReadsWhatRfc3339Allows) {
  for (const std::string_view text :
       {"2026-11-20T12:00:00Z", "2026-11-20t12:00:00z", "2026-11-20 12:00Z",
        "2026-11-20T13:00:00+01:00", "2026-11-20 13:00:00 +01:00",
        "2026-11-20T06:30:00-05:30", "2026-11-20T12:00:00.000Z"}) {
    EXPECT_EQ(parse_time(text, Zone::required), kNoon) << text;
  }
  EXPECT_EQ(parse_time("2026-11-20T12:00:00.5Z", Zone::required),
            (repo::Timestamp{kNoon.seconds, 500'000'000}));
}

TEST(TimeText, ReadsTimesAsPostgresWritesThem) {
  const repo::Timestamp time{kNoon.seconds, 123'456'000};
  for (const std::string_view text :
       {"2026-11-20 12:00:00.123456+00", "2026-11-20 17:30:00.123456+05:30",
        "2026-11-20 04:00:00.123456-08"}) {
    EXPECT_EQ(parse_time(text, Zone::required), time) << text;
  }
  EXPECT_EQ(parse_time("2026-11-20 12:00:00+1", Zone::required), std::nullopt);
  EXPECT_EQ(parse_time("2026-11-20 12:00:00+01:", Zone::required),
            std::nullopt);
}

TEST(TimeText, RefusesOtherTimes) {
  for (const std::string_view text :
       {"", "now", "2026-11-20", "2026-11-20T12", "2026-11-20T24:00Z",
        "2026-02-29T00:00Z", "2026-11-20T12:00:00Zx", "2026-11-20T12:00+1:00",
        "2026-11-20T12:00:00.Z", "2026-11-20T12:00:00 Z", "26-11-20T12:00Z",
        "2026-11-20T12:00:00"}) {
    EXPECT_EQ(parse_time(text, Zone::required), std::nullopt) << text;
  }
}

TEST(TimeText, TakesAnAbsentZoneAsLocalOnlyWhereThatIsMeant) {
  set_zone("Europe/Berlin");

  EXPECT_EQ(parse_time("2026-11-20T13:00", Zone::local), kNoon);
  EXPECT_EQ(parse_time("2026-07-01T14:00", Zone::local)->seconds,
            parse_time("2026-07-01T12:00Z", Zone::required)->seconds);
}

TEST(TimeText, ReadsTheEndOfAHold) {
  set_zone("UTC");

  EXPECT_EQ(parse_until("2026-12-01", kNoon),
            parse_time("2026-12-01T23:59:59Z", Zone::required));
  EXPECT_EQ(parse_until("2026-12-31", kNoon),
            parse_time("2026-12-31T23:59:59Z", Zone::required));
  EXPECT_EQ(parse_until("2026-02-29", kNoon), std::nullopt);
  EXPECT_EQ(parse_until("30d", kNoon),
            parse_time("2026-12-20T12:00Z", Zone::required));
  EXPECT_EQ(parse_until("1y2m", kNoon),
            parse_time("2028-01-20T12:00Z", Zone::required));
  EXPECT_EQ(parse_until("2026-12-01T10:00", kNoon),
            parse_time("2026-12-01T10:00Z", Zone::required));
  EXPECT_EQ(parse_until("soon", kNoon), std::nullopt);
  EXPECT_EQ(parse_until("2026-02-30", kNoon), std::nullopt);
}

TEST(TimeText, APastTimeIsATimeADayOrASpan) {
  set_zone("UTC");

  EXPECT_EQ(parse_since("2026-11-01", kNoon),
            parse_time("2026-11-01T00:00:00Z", Zone::required));
  EXPECT_EQ(parse_since("30d", kNoon),
            parse_time("2026-10-21T12:00Z", Zone::required));
  EXPECT_EQ(parse_since("1y2m3h", kNoon),
            parse_time("2025-09-20T09:00Z", Zone::required));
  EXPECT_EQ(parse_since("2026-12-01T10:00", kNoon),
            parse_time("2026-12-01T10:00Z", Zone::required));
  EXPECT_EQ(parse_since("soon", kNoon), std::nullopt);
  EXPECT_EQ(parse_since("2026-02-30", kNoon), std::nullopt);
}

TEST(TimeText, WritesDurationsAsAClockDoes) {
  EXPECT_EQ(duration_text(0.4), "0:00");
  EXPECT_EQ(duration_text(75), "1:15");
  EXPECT_EQ(duration_text(3'723), "1:02:03");
}

}  // namespace
}  // namespace cairn::cli
