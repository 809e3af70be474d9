// Which snapshots a policy keeps, and why: a pure function of times and rules
// (FORMAT.md, section 13). Grandfather, father, son: so many hourly, daily,
// weekly, monthly and yearly ones, each rule on its own, and what no rule keeps
// is forgotten.
//
// For the same times and rules the verdicts are those of restic's `forget`
// (0.16 and later, which keep the oldest while a rule has places left);
// tests/e2e/retention_against_restic.py compares.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "repo/calendar.h"
#include "repo/entry.h"

namespace cairn::repo {

enum class Prefer { newest, oldest };  // within each period

// The counts say how many of the newest periods keep a snapshot; 0 keeps none,
// kAll keeps one of every period there is.
struct RetentionPolicy {
  static constexpr int kAll = -1;

  int last = 0;  // here each snapshot is a period of its own
  int hourly = 0;
  int daily = 0;
  int weekly = 0;
  int monthly = 0;
  int yearly = 0;
  CalendarSpan within = {};            // counted back from the newest
  std::vector<std::string> tags = {};  // keeps every snapshot with one of these
  std::optional<Weekday> week_on = {};  // weekly and longer prefer that day's
  Prefer prefer = Prefer::newest;
  std::string time_zone = "UTC";  // an IANA name, in which periods are cut

  // No rule at all. Such a policy forgets nothing; the command line refuses it.
  [[nodiscard]] bool is_empty() const noexcept;

  // False: whatever the zone, the verdicts are the same.
  [[nodiscard]] bool needs_time_zone() const noexcept;
};

// What retention reads of a snapshot.
struct Candidate {
  std::string id = {};
  std::string series = {};
  Timestamp time = {};     // the snapshot's own
  Timestamp arrival = {};  // when it was committed
  std::vector<std::string> tags = {};
  bool is_complete = true;  // incomplete ones take no place in a count
  bool is_held = false;
};

// At least one of the two lists has lines, each fit for a screen:
// "daily snapshot"; "daily: another one stands for 2026-11-20".
struct Verdict {
  std::size_t candidate;                // its place in the span given
  std::vector<std::string> reasons;     // why it stays; empty: forget it
  std::vector<std::string> objections;  // of a forgotten one: why no rule helps
};

// Decides, and only decides: no clock, no storage, no deletion. Each series is
// judged by itself. `candidates` may come in any order; the verdicts come
// series by series, newest first. Throws std::invalid_argument for a time zone
// that is not known.
//
// Whatever the policy says, these stay: held ones; the last-arrived complete
// one of each series; incomplete ones that no complete one has followed, by
// time and by arrival.
[[nodiscard]] std::vector<Verdict> apply_retention(
    std::span<const Candidate> candidates, const RetentionPolicy& policy);

}  // namespace cairn::repo
