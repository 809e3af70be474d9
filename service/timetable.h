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
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace date {
class time_zone;
}

namespace cairn::service {

using Moment = std::chrono::sys_seconds;

// Says which field, what is wrong with it, and what would be right.
struct TimetableError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A line by what it means: bit n is the value n.
struct CronFields {
  std::uint64_t minutes = 0;   // 0 .. 59
  std::uint64_t hours = 0;     // 0 .. 23
  std::uint64_t days = 0;      // 1 .. 31
  std::uint64_t months = 0;    // 1 .. 12
  std::uint64_t weekdays = 0;  // 0 .. 6, Sunday first
  bool is_either_day = false;  // days or weekdays; else both have to fit

  [[nodiscard]] bool has_all_hours() const noexcept;
  [[nodiscard]] bool has_all_days() const noexcept;  // of the year

  bool operator==(const CronFields&) const = default;
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

  // The moments within [from, until) that it is due although no clock on a wall
  // comes to such a time then, or comes to it again: at changes of offset.
  [[nodiscard]] std::vector<Moment> irregular_between(Moment from,
                                                      Moment until) const;

  // Whether local time differs from UTC by whole hours all of that time.
  [[nodiscard]] bool has_whole_hours_between(Moment from, Moment until) const;

  // The line, its names and spaces made uniform.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] const CronFields& fields() const noexcept { return fields_; }
  [[nodiscard]] const std::string& zone() const noexcept { return zone_; }

  bool operator==(const Timetable& other) const noexcept {
    return fields_ == other.fields_ && zone_ == other.zone_;
  }

 private:
  struct Stretch;
  [[nodiscard]] Stretch stretch_at(Moment instant) const;
  [[nodiscard]] std::optional<Moment> next_in(const Stretch& stretch,
                                              Moment from) const;
  [[nodiscard]] Moment next_from(Stretch& stretch, Moment from) const;

  std::string text_;
  std::string zone_;
  CronFields fields_;
  const date::time_zone* rules_;  // owned by the time zone data, for ever
};

}  // namespace cairn::service
