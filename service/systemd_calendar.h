// A timetable as lines for a timer of systemd (OnCalendar=), which together
// mean the same.
//
//   0 2 * * *     in Europe/Berlin    *-*-* 02:00:00 Europe/Berlin
//   7 * * * *     in Europe/Berlin    *-*-* *:07:00 UTC
//   0 0 1 * mon   in UTC              *-*-01 00:00:00 UTC
//                                     Mon *-*-* 00:00:00 UTC
//
// systemd asks for both kinds of day, cron for either: two lines. And systemd
// passes over a time that the clock skips, and over the second pass of an hour
// that it repeats: those moments get lines of their own, by date and in UTC, as
// far as the system's time zone data goes.
#pragma once

#include <string>
#include <vector>

#include "service/timetable.h"

namespace cairn::service {

[[nodiscard]] std::vector<std::string> systemd_calendar(
    const Timetable& timetable);

}  // namespace cairn::service
