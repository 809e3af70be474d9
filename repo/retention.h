// Which snapshots a policy keeps, and why: a pure function of times and rules
// (FORMAT.md, section 13). Grandfather, father, son: so many hourly, daily,
// weekly, monthly and yearly ones, each class on its own, and what no class
// keeps is forgotten.
//
// For the same times and rules the verdicts are those of restic's `forget`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/entry.h"

namespace cairn::repo {

enum class Prefer { newest, oldest };  // within each period

// 0 = Sunday .. 6 = Saturday.
enum class Weekday : std::uint8_t {
  sunday, monday, tuesday, wednesday, thursday, friday, saturday
};

// A length of calendar time, as in 1y5m7d2h: subtracted field by field, so that
// a month is a month whatever its days.
struct CalendarSpan {
  int years = 0, months = 0, days = 0, hours = 0;

  [[nodiscard]] bool is_zero() const noexcept;
  bool operator==(const CalendarSpan&) const = default;
};

// "30d", "1y6m", "12h"; nothing for text that is no such thing.
[[nodiscard]] std::optional<CalendarSpan> parse_calendar_span(
    std::string_view text);

// How many of the newest periods keep a snapshot, per class; 0 keeps none,
// kAll keeps every one.
struct RetentionPolicy {
  static constexpr int kAll = -1;

  int last = 0;
  int hourly = 0;
  int daily = 0;
  int weekly = 0;
  int monthly = 0;
  int yearly = 0;
  CalendarSpan within;             // counted back from the newest of the series
  std::vector<std::string> tags;   // keeps every snapshot with one of these
  std::optional<Weekday> week_on;  // see FORMAT.md 13
  Prefer prefer = Prefer::newest;
  std::string time_zone = "UTC";   // an IANA name, in which periods are cut

  // No rule at all: such a policy would forget everything.
  [[nodiscard]] bool is_empty() const noexcept;
};

// What retention reads of a snapshot.
struct Candidate {
  std::string id;
  std::string series;
  Timestamp time;     // the snapshot's own
  Timestamp arrival;  // when it was committed
  std::vector<std::string> tags;
  bool is_complete = true;  // incomplete ones count for no class
  bool is_held = false;
};

struct Verdict {
  std::size_t candidate;             // its place in the span given
  std::vector<std::string> reasons;  // why it stays; empty: forget it
};

// Decides, and only decides: no clock, no storage, no deletion. Each series is
// judged by itself. `candidates` may come in any order; the verdicts come
// series by series, newest first. Throws std::invalid_argument for a time zone
// that is not known.
//
// Whatever the policy says, these stay: held ones; the last-arrived complete
// one of each series; incomplete ones newer than that.
[[nodiscard]] std::vector<Verdict> apply_retention(
    std::span<const Candidate> candidates, const RetentionPolicy& policy);

// The zone of this machine (/etc/localtime, TZ), "UTC" when it cannot be told.
// For the command line's default; retention itself never asks.
[[nodiscard]] std::string local_time_zone();

}  // namespace cairn::repo
