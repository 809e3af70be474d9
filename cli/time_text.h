// Times as people and programs write and read them. Programs get RFC 3339 in
// UTC; people get the local clock with its zone, and how long ago.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "repo/entry.h"
#include "service/timetable.h"

namespace cairn::cli {

// The system's clock.
[[nodiscard]] repo::Timestamp clock_now();

// To the second.
[[nodiscard]] service::Moment moment_of(const repo::Timestamp& time);
[[nodiscard]] repo::Timestamp timestamp_of(service::Moment moment);

// "2026-11-20T14:30:00Z", with nine digits of a second if it has a fraction.
[[nodiscard]] std::string rfc3339(const repo::Timestamp& time);

// "2026-11-20 14:30:00 +01:00"
[[nodiscard]] std::string local_time_text(const repo::Timestamp& time);

// "3 hours ago", "in 2 days"
[[nodiscard]] std::string relative_time_text(const repo::Timestamp& time,
                                             const repo::Timestamp& now);

// "0:07", "1:02:03"
[[nodiscard]] std::string duration_text(double seconds);

// What an absent zone means.
enum class Zone { required, local };

// "2026-11-20T14:30[:SS[.fraction]][Z|+hh[:mm]]"; a space will do for the T,
// and one may stand before the offset, as local_time_text() has it. Takes as
// much of the beginning of `text` as belongs to the time, and answers how much
// that was. Nothing: no time begins here.
struct ParsedTime {
  repo::Timestamp time;
  // The last moment of what was written: without a fraction, of that second.
  repo::Timestamp end;
  std::size_t length = 0;  // characters
};
[[nodiscard]] std::optional<ParsedTime> parse_time_prefix(std::string_view text,
                                                          Zone zone);

// The whole text.
[[nodiscard]] std::optional<repo::Timestamp> parse_time(std::string_view text,
                                                        Zone zone);

// A point in the future: a time, a local date (its last second), or a span from
// `now`, such as "30d" or "1y6m".
[[nodiscard]] std::optional<repo::Timestamp> parse_until(
    std::string_view text, const repo::Timestamp& now);

// A point in the past: a time, a local date (its first second), or a span
// before `now`, such as "30d" or "1y6m".
[[nodiscard]] std::optional<repo::Timestamp> parse_since(
    std::string_view text, const repo::Timestamp& now);

}  // namespace cairn::cli
