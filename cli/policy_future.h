// What a policy will have done by then: runs at a rhythm or by a timetable,
// each followed by forgetting, without a repository and without a clock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "repo/entry.h"
#include "repo/retention.h"
#include "service/timetable.h"

namespace cairn::cli {

// More than two years of hourly runs; what asks for more takes minutes.
inline constexpr std::uint64_t kMostSimulatedRuns = 20'000;

// When the run after one at that time comes: later.
using NextRun = std::function<repo::Timestamp(const repo::Timestamp&)>;

// Requires: `every` is positive.
[[nodiscard]] NextRun steadily(std::chrono::seconds every);
[[nodiscard]] NextRun by(const service::Timetable& timetable);

// Of a run at `first` and all that follow, up to `end`; no more than
// kMostSimulatedRuns + 1 are counted.
[[nodiscard]] std::uint64_t count_runs(const repo::Timestamp& first,
                                       const NextRun& next,
                                       const repo::Timestamp& end);

struct SimulatedSnapshot {
  repo::Timestamp time;
  std::vector<std::string> reasons;
};

struct Simulation {
  std::vector<SimulatedSnapshot> left;  // newest first
  std::uint64_t runs = 0;
  std::size_t most = 0;  // snapshots at a time, after forgetting
};

// The first run is at `first`, the last one not after `end`.
// Requires: that are no more than kMostSimulatedRuns.
[[nodiscard]] Simulation simulate(const repo::RetentionPolicy& policy,
                                  const repo::Timestamp& first,
                                  const NextRun& next,
                                  const repo::Timestamp& end);

// Why one snapshot stays, as time goes on.
struct Fate {
  struct Phase {
    repo::Timestamp from;
    std::vector<std::string> reasons;
  };
  std::vector<Phase> phases;             // the first one is now
  std::optional<repo::Timestamp> until;  // nothing: it stays past `seen`
  repo::Timestamp seen;                  // how far was looked
};

// `snapshots` are all of one series; `which` is one of them. Looks at most so
// far as kMostSimulatedRuns, or to `end`. A snapshot that goes with the next
// run has no phases.
[[nodiscard]] Fate fate_of(std::span<const repo::Candidate> snapshots,
                           std::size_t which,
                           const repo::RetentionPolicy& policy,
                           const repo::Timestamp& now, const NextRun& next,
                           const repo::Timestamp& end);

// The usual distance between complete snapshots lately: the median of the last
// twenty. Nothing: there are less than three.
[[nodiscard]] std::optional<std::chrono::seconds> rhythm_of(
    std::span<const repo::Candidate> snapshots);

}  // namespace cairn::cli
