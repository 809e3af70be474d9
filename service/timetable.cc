#include "service/timetable.h"

#include <date/tz.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "service/cron_line.h"

namespace cairn::service {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using LocalTime = date::local_seconds;

constexpr minutes kADay{24 * 60};
constexpr date::sys_seconds kEarliest =
    date::sys_days{date::year(1970) / date::January / 2};
constexpr date::sys_seconds kLatest =
    date::sys_days{date::year(9000) / date::January / 1};

const date::time_zone* find_zone(const std::string& name) {
  try {
    return date::locate_zone(name);
  } catch (const std::runtime_error&) {  // all that the library ever says
    throw TimetableError("time zone \"" + name +
                         "\": the system knows no such zone");
  }
}

bool has(std::uint64_t values, unsigned value) {
  return (values >> value & 1) != 0;
}

bool fits(const CronFields& fields, date::local_days day) {
  const date::year_month_day date{day};
  if (!has(fields.months, unsigned(date.month()))) return false;
  const bool is_day = has(fields.days, unsigned(date.day()));
  const bool is_weekday = has(fields.weekdays, date::weekday(day).c_encoding());
  return fields.is_either_day ? is_day || is_weekday : is_day && is_weekday;
}

// The first minute of a day that fits, `from` minutes into it or later.
std::optional<minutes> next_in_day(const CronFields& fields, minutes from) {
  constexpr unsigned kHour = 60;
  if (from >= kADay) return std::nullopt;
  const auto start = unsigned(from.count());
  for (unsigned hour = start / kHour; hour < 24; ++hour) {
    if (!has(fields.hours, hour)) continue;
    const unsigned first = hour == start / kHour ? start % kHour : 0;
    const std::uint64_t left = fields.minutes >> first;
    if (left != 0) {
      return minutes(hour * kHour + first + unsigned(std::countr_zero(left)));
    }
  }
  return std::nullopt;
}

// The first local time within [from, end) that fits.
std::optional<LocalTime> next_local(const CronFields& fields, LocalTime from,
                                    LocalTime end) {
  from = date::ceil<minutes>(from);
  auto day = date::floor<date::days>(from);
  auto into_day = date::floor<minutes>(from - day);
  for (; day < end; day += date::days(1), into_day = minutes(0)) {
    if (!fits(fields, day)) continue;
    if (const auto minute = next_in_day(fields, into_day)) {
      const LocalTime found = day + *minute;
      if (found >= end) return std::nullopt;
      return found;
    }
  }
  return std::nullopt;
}

LocalTime local(Moment instant, seconds offset) {
  return LocalTime((instant + offset).time_since_epoch());
}

}  // namespace

bool CronFields::has_all_hours() const noexcept {
  constexpr std::uint64_t kAll = (std::uint64_t{1} << 24) - 1;
  return hours == kAll;
}

bool CronFields::has_all_days() const noexcept {
  constexpr std::uint64_t kAllDays = 0xffff'fffe;
  constexpr std::uint64_t kAllMonths = 0x1ffe;
  constexpr std::uint64_t kAllWeekdays = 0x7f;
  const bool has_days = days == kAllDays;
  const bool has_weekdays = weekdays == kAllWeekdays;
  return months == kAllMonths &&
         (is_either_day ? has_days || has_weekdays : has_days && has_weekdays);
}

// A time during which local time runs evenly.
struct Timetable::Stretch {
  Moment begin;
  Moment end;
  seconds offset;
  seconds offset_before;  // the same where nothing was before

  // Local times that the change to it skipped.
  [[nodiscard]] bool has_gap() const { return offset > offset_before; }
  // Until then, clocks on walls show what they showed already.
  [[nodiscard]] Moment end_of_repeat() const {
    return begin + std::max(offset_before - offset, seconds(0));
  }
};

Timetable::Timetable(std::string_view cron, const std::string& zone)
    : zone_(zone), rules_(find_zone(zone)) {
  auto line = read_cron_line(cron);
  text_ = std::move(line.text);
  fields_ = line.fields;
}

Timetable::Stretch Timetable::stretch_at(Moment instant) const {
  const auto info = rules_->get_info(instant);
  const auto before = info.begin > kEarliest
                          ? rules_->get_info(info.begin - seconds(1)).offset
                          : info.offset;
  return {info.begin, info.end, info.offset, before};
}

// The first due moment of the stretch, not earlier than `from`.
std::optional<Moment> Timetable::next_in(const Stretch& stretch,
                                         Moment from) const {
  if (!fields_.has_all_hours()) {
    if (from <= stretch.begin && stretch.has_gap() &&
        next_local(fields_, local(stretch.begin, stretch.offset_before),
                   local(stretch.begin, stretch.offset))) {
      return stretch.begin;
    }
    from = std::max(from, stretch.end_of_repeat());
  }
  const auto found = next_local(fields_, local(from, stretch.offset),
                                local(stretch.end, stretch.offset));
  if (!found) return std::nullopt;
  return Moment(found->time_since_epoch() - stretch.offset);
}

// `stretch` is the one that `from` is in, and then the one of the answer.
Moment Timetable::next_from(Stretch& stretch, Moment from) const {
  for (;;) {
    if (const auto found = next_in(stretch, from)) return *found;
    from = stretch.end;
    stretch = stretch_at(from);
  }
}

Moment Timetable::next_after(Moment instant) const {
  const Moment from = std::clamp(instant, kEarliest, kLatest) + seconds(1);
  auto stretch = stretch_at(from);
  return next_from(stretch, from);
}

Moment Timetable::last_until(Moment instant) const {
  // next_after() never falls, so the last moment from which it still comes in
  // time is the one before the answer.
  Moment early = std::clamp(instant, kEarliest, kLatest);
  Moment late = early;
  for (seconds back = std::chrono::hours(1); next_after(early) > instant;
       back *= 2) {
    if (early <= kEarliest) return kEarliest;
    late = early;
    early = std::max(early - back, kEarliest);
  }
  while (late - early > seconds(1)) {
    const Moment middle = early + (late - early) / 2;
    (next_after(middle) > instant ? late : early) = middle;
  }
  return next_after(early);
}

seconds Timetable::longest_wait(Moment from) const {
  constexpr date::days kAYear{366};
  Moment last = last_until(from);
  auto stretch = stretch_at(last);
  seconds longest{0};
  while (last < from + kAYear) {
    if (last + seconds(1) >= stretch.end) stretch = stretch_at(stretch.end);
    const Moment next = next_from(stretch, last + seconds(1));
    longest = std::max(longest, next - last);
    last = next;
  }
  return longest;
}

std::vector<Moment> Timetable::irregular_between(Moment from,
                                                 Moment until) const {
  std::vector<Moment> found;
  for (auto stretch = stretch_at(from); stretch.end < until;) {
    stretch = stretch_at(stretch.end);
    // A gap leaves the moment of the change, a repeated time all of its own.
    const Moment end =
        std::max(stretch.begin + seconds(1), stretch.end_of_repeat());
    std::optional<Moment> due = next_in(stretch, stretch.begin);
    if (stretch.has_gap() &&
        next_local(fields_, local(stretch.begin, stretch.offset),
                   local(stretch.begin + seconds(1), stretch.offset))) {
      continue;  // due then by the clock, too
    }
    while (due && *due < end && *due < until) {
      found.push_back(*due);
      due = next_in(stretch, *due + seconds(1));
    }
  }
  return found;
}

bool Timetable::has_whole_hours_between(Moment from, Moment until) const {
  constexpr seconds kHour{3600};
  for (auto stretch = stretch_at(from);; stretch = stretch_at(stretch.end)) {
    if (stretch.offset % kHour != seconds(0)) return false;
    if (stretch.end >= until) return true;
  }
}

}  // namespace cairn::service
