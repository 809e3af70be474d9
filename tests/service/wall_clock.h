// A clock on a wall of a zone, by the C library, and what a line of cron is due
// by looking at it every minute.
#pragma once

#include <stdlib.h>
#include <time.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "tests/service/random_line.h"

namespace cairn::service {

// Sets TZ of the process: one at a time.
class WallClock {
 public:
  using Moment = std::chrono::sys_seconds;

  explicit WallClock(std::string zone) : zone_(std::move(zone)) {
    ::setenv("TZ", zone_.c_str(), 1);
    ::tzset();
  }

  [[nodiscard]] const std::string& zone() const { return zone_; }

  [[nodiscard]] static std::tm at(std::time_t time) {
    std::tm parts{};
    ::localtime_r(&time, &parts);
    return parts;
  }

  // Half of them two days before a change of offset, if the zone has any.
  [[nodiscard]] Moment interesting_moment(std::mt19937_64& random) const {
    constexpr std::time_t kFirst = 1767225600;  // 2026-01-01
    constexpr std::time_t kDay = 86400;
    const std::time_t start = kFirst + kDay * pick(random, 0, 3650);
    if (pick(random, 0, 1) == 0) {
      for (std::time_t day = start; day < start + 366 * kDay; day += kDay) {
        if (at(day).tm_gmtoff != at(day + kDay).tm_gmtoff) {
          return Moment(std::chrono::seconds(day - kDay));
        }
      }
    }
    return Moment(std::chrono::seconds(start));
  }

  [[nodiscard]] std::vector<Moment> due(const RandomLine& line, Moment from,
                                        Moment until) const {
    const bool is_every_hour = line.values[1].size() == 24;
    std::vector<Moment> moments;
    const std::time_t first = from.time_since_epoch().count();
    const std::time_t end = until.time_since_epoch().count();
    std::time_t furthest = local(first - 60);
    for (std::time_t back = first - 86400; back < first; back += 60) {
      furthest = std::max(furthest, local(back));
    }
    for (std::time_t time = first; time < end; time += 60) {
      const std::time_t now = local(time);
      bool is_due = fits(line, now) && (is_every_hour || now > furthest);
      const std::time_t before = local(time - 60);
      for (std::time_t skipped = before + 60; skipped < now && !is_every_hour;
           skipped += 60) {
        is_due = is_due || fits(line, skipped);
      }
      if (is_due) moments.push_back(Moment(std::chrono::seconds(time)));
      furthest = std::max(furthest, now);
    }
    return moments;
  }

 private:
  // What the wall shows, as if it were UTC.
  [[nodiscard]] static std::time_t local(std::time_t time) {
    return time + at(time).tm_gmtoff;
  }

  [[nodiscard]] static bool fits(const RandomLine& line, std::time_t shown) {
    std::tm t{};
    ::gmtime_r(&shown, &t);
    const bool is_day = line.values[2].contains(t.tm_mday);
    const bool is_weekday = line.values[4].contains(t.tm_wday);
    const bool is_either =
        !line.begins_with_star[2] && !line.begins_with_star[4];
    return line.values[0].contains(t.tm_min) &&
           line.values[1].contains(t.tm_hour) &&
           line.values[3].contains(t.tm_mon + 1) &&
           (is_either ? is_day || is_weekday : is_day && is_weekday);
  }

  std::string zone_;
};

}  // namespace cairn::service
