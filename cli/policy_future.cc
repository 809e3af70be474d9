#include "cli/policy_future.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cairn::cli {
namespace {

// The snapshots of one series, and the runs that make more of them.
class PaperSeries {
 public:
  PaperSeries(const repo::RetentionPolicy& policy,
              std::vector<repo::Candidate> snapshots)
      : policy_(policy), snapshots_(std::move(snapshots)) {}

  void run_at(const repo::Timestamp& time) {
    repo::Candidate made;
    made.id = "run " + std::to_string(++runs_);
    made.series = snapshots_.empty() ? "series" : snapshots_.front().series;
    made.time = time;
    made.arrival = time;
    snapshots_.push_back(std::move(made));
    forget();
  }

  struct Kept {
    const repo::Candidate* snapshot;
    std::vector<std::string> reasons;
  };

  // What the policy says of those there are now, newest first.
  [[nodiscard]] std::vector<Kept> kept() const {
    std::vector<Kept> all;
    for (auto& verdict : repo::apply_retention(snapshots_, policy_)) {
      if (verdict.reasons.empty()) continue;
      all.push_back(
          {&snapshots_[verdict.candidate], std::move(verdict.reasons)});
    }
    return all;
  }

  [[nodiscard]] std::size_t count() const noexcept { return snapshots_.size(); }
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }

 private:
  void forget() {
    std::vector<repo::Candidate> left;
    for (const auto& [snapshot, reasons] : kept()) left.push_back(*snapshot);
    snapshots_ = std::move(left);
  }

  const repo::RetentionPolicy& policy_;
  std::vector<repo::Candidate> snapshots_;
  std::uint64_t runs_ = 0;
};

}  // namespace

NextRun steadily(std::chrono::seconds every) {
  assert(every.count() > 0);
  return [every](const repo::Timestamp& time) {
    return repo::Timestamp{time.seconds + every.count(), time.nanoseconds};
  };
}

NextRun by(const service::Timetable& timetable) {
  return [timetable](const repo::Timestamp& time) {
    const auto next = timetable.next_after(
        service::Moment(std::chrono::seconds(time.seconds)));
    return repo::Timestamp{next.time_since_epoch().count(), 0};
  };
}

std::uint64_t count_runs(const repo::Timestamp& first, const NextRun& next,
                         const repo::Timestamp& end) {
  std::uint64_t runs = 0;
  for (auto time = first; time <= end && runs <= kMostSimulatedRuns;
       time = next(time)) {
    ++runs;
  }
  return runs;
}

Simulation simulate(const repo::RetentionPolicy& policy,
                    const repo::Timestamp& first, const NextRun& next,
                    const repo::Timestamp& end) {
  PaperSeries series(policy, {});
  Simulation simulation;
  for (auto time = first; time <= end; time = next(time)) {
    series.run_at(time);
    simulation.most = std::max(simulation.most, series.count());
  }
  simulation.runs = series.runs();
  for (auto& [snapshot, reasons] : series.kept()) {
    simulation.left.push_back({snapshot->time, std::move(reasons)});
  }
  return simulation;
}

Fate fate_of(std::span<const repo::Candidate> snapshots, std::size_t which,
             const repo::RetentionPolicy& policy, const repo::Timestamp& now,
             const NextRun& next, const repo::Timestamp& end) {
  const std::string id = snapshots[which].id;
  const auto reasons_of =
      [&](const PaperSeries& series) -> std::vector<std::string> {
    for (auto& [snapshot, reasons] : series.kept()) {
      if (snapshot->id == id) return std::move(reasons);
    }
    return {};
  };
  PaperSeries series(policy, {snapshots.begin(), snapshots.end()});
  Fate fate;
  fate.seen = now;
  auto reasons = reasons_of(series);
  if (reasons.empty()) {
    fate.until = now;
    return fate;
  }
  fate.phases.push_back({now, std::move(reasons)});
  for (auto time = next(now); time <= end && series.runs() < kMostSimulatedRuns;
       time = next(time)) {
    series.run_at(time);
    fate.seen = time;
    reasons = reasons_of(series);
    if (reasons.empty()) {
      fate.until = time;
      return fate;
    }
    if (reasons != fate.phases.back().reasons) {
      fate.phases.push_back({time, std::move(reasons)});
    }
  }
  return fate;
}

std::optional<std::chrono::seconds> rhythm_of(
    std::span<const repo::Candidate> snapshots) {
  constexpr std::size_t kLately = 20;
  std::vector<std::int64_t> times;
  for (const auto& snapshot : snapshots) {
    if (snapshot.is_complete) times.push_back(snapshot.time.seconds);
  }
  std::ranges::sort(times);
  if (times.size() > kLately + 1) {
    times.erase(times.begin(), times.end() - (kLately + 1));
  }
  std::vector<std::int64_t> gaps;
  for (std::size_t i = 1; i < times.size(); ++i) {
    if (times[i] > times[i - 1]) gaps.push_back(times[i] - times[i - 1]);
  }
  if (gaps.size() < 2) return std::nullopt;
  const auto middle = gaps.begin() + std::ssize(gaps) / 2;
  std::ranges::nth_element(gaps, middle);
  return std::chrono::seconds(*middle);
}

}  // namespace cairn::cli
