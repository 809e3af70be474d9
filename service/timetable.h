// When something is due: a line of cron, in a time zone.
//
//   7 * * * *        every hour, seven minutes past
//   0 2 * * *        every night at two, as the clock on the wall shows it
//   0 3 * * sun      Sundays at three
//
// Fields are minute, hour, day of the month, month, day of the week, with
// lists, ranges, steps and names, as crontab(5) of Debian describes them; also
// its rule that a line with both kinds of day means either. A local time that
// a change of offset skips is due at the moment of the change; one that it
// repeats is due once, the first time. A line whose hours are all (`*`) runs
// through such changes every so many minutes of real time.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace date {
class time_zone;
}

namespace cairn::service {

using Moment = std::chrono::sys_seconds;

// Says which field, what is wrong with it, and what would be right.
struct TimetableError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Const members from many threads.
class Timetable {
 public:
  // Five fields, or one of @hourly, @daily, @weekly, @monthly, @yearly; `zone`
  // an IANA name. Throws TimetableError, also for a line that is never due
  // (30 February).
  Timetable(std::string_view cron, const std::string& zone);

  // The first moment it is due later than `instant`.
  [[nodiscard]] Moment next_after(Moment instant) const;

  // The last moment it was due, not later than `instant`.
  [[nodiscard]] Moment last_until(Moment instant) const;

  // The longest time between two moments that it is due, over a year from
  // `from`: what an age is held against.
  [[nodiscard]] std::chrono::seconds longest_wait(Moment from) const;

  // The line, its names and spaces made uniform.
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
  const date::time_zone* zone_;  // owned by the time zone data, for ever
};

}  // namespace cairn::service
