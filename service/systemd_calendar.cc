#include "service/systemd_calendar.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

namespace cairn::service {
namespace {

using namespace std::chrono;

// Constants, so that what is installed does not go out of date by itself.
constexpr Moment kFirst = sys_days(2026y / January / 1);
constexpr Moment kEnd = sys_days(2038y / January / 1);

std::string two_digits(unsigned value) {
  return (value < 10 ? "0" : "") + std::to_string(value);
}

constexpr std::array kWeekdays = {"Sun", "Mon", "Tue", "Wed",
                                  "Thu", "Fri", "Sat"};

std::string weekday_name(unsigned value) { return kWeekdays[value]; }

// "*", or "00,15..30": runs of three and more as ranges.
std::string list_of(std::uint64_t values, unsigned first, unsigned last,
                    std::string (*spell)(unsigned)) {
  const auto has = [&](unsigned value) {
    return value <= last && (values >> value & 1) != 0;
  };
  std::string text;
  unsigned count = 0;
  for (unsigned value = first; value <= last; ++value) {
    if (!has(value)) continue;
    unsigned end = value;
    while (has(end + 1)) ++end;
    count += end - value + 1;
    text += (text.empty() ? "" : ",") + spell(value);
    if (end == value + 1) text += "," + spell(end);
    if (end > value + 1) text += ".." + spell(end);
    value = end;
  }
  return count == last - first + 1 ? "*" : text;
}

constexpr std::uint64_t kAnyWeekday = 0x7f;
constexpr std::uint64_t kAnyDay = 0xffff'fffe;

std::string line_of(const CronFields& fields, std::uint64_t days,
                    std::uint64_t weekdays, const std::string& zone) {
  std::string text;
  if ((weekdays & kAnyWeekday) != kAnyWeekday) {
    text = list_of(weekdays, 0, 6, weekday_name) + " ";
  }
  return text + "*-" + list_of(fields.months, 1, 12, two_digits) + "-" +
         list_of(days, 1, 31, two_digits) + " " +
         list_of(fields.hours, 0, 23, two_digits) + ":" +
         list_of(fields.minutes, 0, 59, two_digits) + ":00 " + zone;
}

// A line for each hour of UTC that has any of them.
void add_irregular(const std::vector<Moment>& moments,
                   std::vector<std::string>& lines) {
  std::map<sys_time<hours>, std::uint64_t> by_hour;
  for (const auto moment : moments) {
    const auto hour = floor<hours>(moment);
    by_hour[hour] |= std::uint64_t{1} << floor<minutes>(moment - hour).count();
  }
  for (const auto& [hour, in_hour] : by_hour) {
    const auto day = floor<days>(hour);
    const year_month_day date{day};
    lines.push_back(std::to_string(int(date.year())) + "-" +
                    two_digits(unsigned(date.month())) + "-" +
                    two_digits(unsigned(date.day())) + " " +
                    two_digits(unsigned((hour - day).count())) + ":" +
                    list_of(in_hour, 0, 59, two_digits) + ":00 UTC");
  }
}

}  // namespace

std::vector<std::string> systemd_calendar(const Timetable& timetable) {
  const auto& fields = timetable.fields();
  // Every hour of every day is the same in all zones that differ by hours.
  if (fields.has_all_hours() && fields.has_all_days() &&
      timetable.has_whole_hours_between(kFirst, kEnd)) {
    return {line_of(fields, kAnyDay, kAnyWeekday, "UTC")};
  }
  std::vector<std::string> lines;
  if (fields.is_either_day && !fields.has_all_days()) {
    lines = {line_of(fields, fields.days, kAnyWeekday, timetable.zone()),
             line_of(fields, kAnyDay, fields.weekdays, timetable.zone())};
  } else {
    lines = {line_of(fields, fields.is_either_day ? kAnyDay : fields.days,
                     fields.is_either_day ? kAnyWeekday : fields.weekdays,
                     timetable.zone())};
  }
  add_irregular(timetable.irregular_between(kFirst, kEnd), lines);
  return lines;
}

}  // namespace cairn::service
