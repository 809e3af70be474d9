// What is too old, too small, too full: judgements on what is known of what is
// saved, without a clock and without a repository.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "service/timetable.h"

namespace cairn::service {

struct Limits {
  std::chrono::seconds overdue{3'600};  // beyond the interval
  double size_change = 0.5;             // of the usual size
  double repository_used = 0.8;         // of its disk
  std::chrono::seconds wal_lag{900};
};

// Never negative: where a clock went back, something is younger than nothing.
struct Age {
  std::chrono::seconds length{0};
  bool is_of_the_future = false;
};
[[nodiscard]] Age age_of(Moment then, Moment now) noexcept;

// A source that was saved whole.
struct GoodState {
  Moment when;              // of the data
  std::uint64_t bytes = 0;  // read
};

// How often it is to be saved.
struct Rhythm {
  std::chrono::seconds interval{0};  // the longest
  // By its schedule: when it was due last, `Limits::overdue` ago or longer.
  // Nothing: there is no schedule.
  std::optional<Moment> last_due;
};

// `last`: nothing, it was never saved whole.
[[nodiscard]] bool is_overdue(const std::optional<Moment>& last,
                              const Rhythm& rhythm, const Limits& limits,
                              Moment now) noexcept;

// The usual distance between good states: the median of the last twenty,
// without those of less than ten minutes, which somebody makes who tries
// something. `states` come newest first. Nothing: less than two distances are
// left.
[[nodiscard]] std::optional<std::chrono::seconds> usual_interval(
    std::span<const GoodState> states);

// The median size of the ten before the newest. Nothing: there are less than
// three, which say nothing yet.
[[nodiscard]] std::optional<std::uint64_t> usual_bytes(
    std::span<const GoodState> states);

// How much larger (smaller: negative) than usual, as a share of the usual.
[[nodiscard]] double change_of(std::uint64_t bytes,
                               std::uint64_t usual) noexcept;

}  // namespace cairn::service
