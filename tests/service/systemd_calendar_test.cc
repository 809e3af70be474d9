#include "service/systemd_calendar.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include "tests/service/random_line.h"
#include "tests/service/wall_clock.h"
#include "tests/support/for_each_seed.h"

namespace cairn::service {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

Texts lines_of(const char* cron, const char* zone) {
  return systemd_calendar(Timetable(cron, zone));
}

TEST(SystemdCalendar, SaysTheSameInItsOwnWords) {
  EXPECT_EQ(lines_of("0 4 * * *", "Europe/Berlin"),
            (Texts{"*-*-* 04:00:00 Europe/Berlin"}));
  EXPECT_EQ(lines_of("7 * * * *", "Europe/Berlin"),
            (Texts{"*-*-* *:07:00 UTC"}));
  EXPECT_EQ(lines_of("*/20 1-3,9 * jan,mar mon-fri", "UTC"),
            (Texts{"Mon..Fri *-01,03-* 01..03,09:00,20,40:00 UTC"}));
  EXPECT_EQ(lines_of("0 0 1 * mon", "UTC"),
            (Texts{"*-*-01 00:00:00 UTC", "Mon *-*-* 00:00:00 UTC"}));
}

TEST(SystemdCalendar, NamesEachNightInWhichTheTimeIsSkipped) {
  const auto lines = lines_of("30 2 * * *", "Europe/Berlin");

  ASSERT_EQ(lines.size(), 13u);
  EXPECT_EQ(lines[0], "*-*-* 02:30:00 Europe/Berlin");
  EXPECT_EQ(lines[1], "2026-03-29 01:00:00 UTC");
  EXPECT_EQ(lines[12], "2037-03-29 01:00:00 UTC");
}

// ---- by systemd itself

struct Close {
  void operator()(FILE* file) const { ::pclose(file); }
};

bool has_systemd() {
  return std::system("systemd-analyze --version >/dev/null 2>&1") == 0;
}

// The first `count` moments later than `from`, of all lines together.
std::set<Moment> elapses(const Texts& lines, Moment from, int count) {
  std::string command =
      "TZ=UTC systemd-analyze calendar --iterations=" + std::to_string(count) +
      " --base-time=@" + std::to_string(from.time_since_epoch().count());
  for (const auto& line : lines) command += " '" + line + "'";
  const std::unique_ptr<FILE, Close> out(
      ::popen((command + " 2>&1").c_str(), "r"));
  std::set<Moment> moments;
  char text[256];
  while (::fgets(text, sizeof text, out.get()) != nullptr) {
    const std::string line = text;
    if (line.find("Next elapse: ") == line.npos &&
        line.find("Iter. #") == line.npos) {
      continue;
    }
    std::tm t{};
    const auto at = line.find(": ") + 2;
    if (::strptime(line.c_str() + at, "%a %Y-%m-%d %H:%M:%S UTC", &t)) {
      moments.insert(Moment(seconds(::timegm(&t))));
    } else {
      EXPECT_NE(line.find("never"), line.npos) << line;
    }
  }
  return moments;
}

TEST(SystemdCalendar, ElapsesWhenTheTimetableIsDue) {
  if (!has_systemd()) GTEST_SKIP() << "not installed: systemd-analyze";
  testing_support::for_each_seed(40, [](std::mt19937_64& random) {
    const auto line = random_line(random);
    const std::string zone = random_zone(random);
    SCOPED_TRACE(line.text + " in " + zone);
    const Timetable table(line.text, zone);
    const Moment from = WallClock(zone).interesting_moment(random);
    constexpr int kCount = 60;
    constexpr Moment kEndOfZoneData{seconds(2145916800)};  // 2038

    const auto all = elapses(systemd_calendar(table), from, kCount);

    Moment expected = from;
    auto found = all.begin();
    for (int i = 0; i < kCount; ++i, ++found) {
      expected = table.next_after(expected);
      if (expected >= kEndOfZoneData) break;
      ASSERT_NE(found, all.end());
      ASSERT_EQ(found->time_since_epoch(), expected.time_since_epoch());
    }
  });
}

}  // namespace
}  // namespace cairn::service
