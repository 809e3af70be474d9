// Local time, as far as retention needs it: what the clock on the wall of a
// zone shows at an instant, and the instant some months or days before.
//
// Zones and their changes of offset are those of the system's time zone data,
// which Debian writes out up to 2037; after that its summers are winters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "repo/entry.h"

namespace date {
class time_zone;
}

namespace cairn::repo {

enum class Weekday : std::uint8_t {
  sunday,
  monday,
  tuesday,
  wednesday,
  thursday,
  friday,
  saturday
};

// "sunday" or "sun", in any case; nothing for other text.
[[nodiscard]] std::optional<Weekday> parse_weekday(std::string_view text);

// A length of calendar time, as in 1y5m7d2h: subtracted field by field, so that
// a month is a month whatever its days.
struct CalendarSpan {
  int years = 0, months = 0, days = 0, hours = 0;

  [[nodiscard]] bool is_zero() const noexcept;
  bool operator==(const CalendarSpan&) const = default;
};

// "30d", "1y6m", "12h": each unit at most once, in any order. Nothing for text
// that is no such thing.
[[nodiscard]] std::optional<CalendarSpan> parse_calendar_span(
    std::string_view text);

// "1y5m7d2h"; "0h" for the empty span.
[[nodiscard]] std::string to_string(const CalendarSpan& span);

struct LocalTime {
  int year;
  unsigned month, day, hour;
  Weekday weekday;
  int week_year;  // ISO 8601: the week belongs to the year of its Thursday
  unsigned week;  // 1 .. 53
};

// Const members from many threads.
class TimeZone {
 public:
  // Throws std::invalid_argument for a name that the system does not know.
  explicit TimeZone(const std::string& iana_name);

  // Times outside the years 0 to 9999 are taken as the nearest inside.
  [[nodiscard]] LocalTime local_time(const Timestamp& instant) const;

  // Years, months and days are taken from the local date, hours from the
  // instant that results. Requires: no field of `span` is negative.
  //
  // A day that its month does not have runs over into the next month (31 March
  // less a month is 3 March, or 2 March in a leap year). A local time that a
  // change of offset skips or repeats becomes an instant as restic does it; see
  // the definition.
  [[nodiscard]] Timestamp before(const Timestamp& instant,
                                 const CalendarSpan& span) const;

 private:
  const date::time_zone* rules_;  // owned by the time zone data, for ever
};

// The zone by which the C library shows times: what `variable`, TZ of the
// environment, says if it is set; else that of the file /etc/localtime, found
// by its bytes where it is no link; "UTC" without one. Nothing: IANA has no
// name for it, so that no TimeZone would be like it. For the command line's
// default; retention itself never asks.
[[nodiscard]] std::optional<std::string> local_time_zone(
    const std::optional<std::string>& variable);

}  // namespace cairn::repo
