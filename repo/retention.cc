#include "repo/retention.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>
#include <tuple>

namespace cairn::repo {
namespace {

enum class Period { snapshot, hour, day, week, month, year };

// So many of such periods.
struct CountingRule {
  std::string_view name;
  Period period;
  int RetentionPolicy::*count;
};

constexpr std::array<CountingRule, 6> kCountingRules{{
    {"last", Period::snapshot, &RetentionPolicy::last},
    {"hourly", Period::hour, &RetentionPolicy::hourly},
    {"daily", Period::day, &RetentionPolicy::daily},
    {"weekly", Period::week, &RetentionPolicy::weekly},
    {"monthly", Period::month, &RetentionPolicy::monthly},
    {"yearly", Period::year, &RetentionPolicy::yearly},
}};

// A snapshot on its way to a verdict.
struct Judged {
  const Candidate* snapshot;
  LocalTime local;
  Verdict verdict;

  void keep(std::string reason) {
    verdict.reasons.push_back(std::move(reason));
  }
  void object(std::string objection) {
    verdict.objections.push_back(std::move(objection));
  }
};

using Series = std::span<Judged>;      // newest first
using Chosen = std::vector<Judged*>;   // of a series, newest first
using Run = std::span<Judged* const>;  // of one period, newest first

std::string padded(unsigned number) {
  return (number < 10 ? "0" : "") + std::to_string(number);
}

std::string name_of(Period period, const LocalTime& t) {
  const std::string year = std::to_string(t.year);
  const std::string month = "-" + padded(t.month);
  const std::string day = "-" + padded(t.day);
  switch (period) {
    case Period::snapshot:
      break;
    case Period::hour:
      return year + month + day + " " + padded(t.hour) + "h";
    case Period::day:
      return year + month + day;
    case Period::week:
      return std::to_string(t.week_year) + "-W" + padded(t.week);
    case Period::month:
      return year + month;
    case Period::year:
      return std::to_string(t.year);
  }
  return "";
}

bool is_same(Period period, const LocalTime& a, const LocalTime& b) {
  return period != Period::snapshot && name_of(period, a) == name_of(period, b);
}

// The snapshots from the first one on that share its period. Neighbours are
// compared, not sets built: where a zone once turned its clocks back by more
// than an hour, the hours shown twice are periods of their own.
Run first_run(Period period, Run snapshots) {
  std::size_t size = 1;
  while (size < snapshots.size() &&
         is_same(period, snapshots[size]->local, snapshots[0]->local)) {
    ++size;
  }
  return snapshots.first(size);
}

Judged& pick(Period period, Run run, const RetentionPolicy& policy) {
  const auto is_on_day = [&](const Judged* judged) {
    return judged->local.weekday == policy.week_on;
  };
  const bool by_day = period >= Period::week && policy.week_on &&
                      std::ranges::any_of(run, is_on_day);
  const auto is_eligible = [&](const Judged* judged) {
    return !by_day || is_on_day(judged);
  };
  if (policy.prefer == Prefer::newest) {
    return **std::ranges::find_if(run, is_eligible);
  }
  return **std::find_if(run.rbegin(), run.rend(), is_eligible);
}

void apply_counting(const CountingRule& rule, Run snapshots,
                    const RetentionPolicy& policy) {
  const int count = policy.*rule.count;
  if (count == 0 || snapshots.empty()) return;
  const std::string name(rule.name);

  int places = count;  // left; kAll never comes down to 0
  Judged* last_picked = nullptr;
  Run rest = snapshots;
  while (places != 0 && !rest.empty()) {
    const Run run = first_run(rule.period, rest);
    rest = rest.subspan(run.size());
    last_picked = &pick(rule.period, run, policy);
    if (places > 0) --places;
    last_picked->keep(name + " snapshot");
    for (Judged* other : run) {
      if (other == last_picked) continue;
      other->object(name + ": another one stands for " +
                    name_of(rule.period, other->local));
    }
  }
  for (Judged* older : rest) {
    older->object(name + ": beyond the newest " + std::to_string(count));
  }

  // While places are left, the history reaches back as far as it can.
  if (places != 0 && last_picked != snapshots.back()) {
    snapshots.back()->keep("oldest " + name + " snapshot");
  }
}

void apply_tags(Series series, const std::vector<std::string>& tags) {
  for (Judged& judged : series) {
    for (const std::string& tag : tags) {
      if (std::ranges::count(judged.snapshot->tags, tag) != 0) {
        judged.keep("has tag " + tag);
      } else {
        judged.object("has no tag " + tag);
      }
    }
  }
}

// The newest complete snapshot that does not claim to be of a later time than
// its arrival: a clock gone wrong must not move the window into the future.
const Candidate* newest_credible(const Chosen& complete) {
  const auto found = std::ranges::find_if(complete, [](const Judged* judged) {
    return judged->snapshot->time <= judged->snapshot->arrival;
  });
  return found == complete.end() ? nullptr : (*found)->snapshot;
}

void apply_within(Series series, const Chosen& complete,
                  const CalendarSpan& span, const TimeZone& zone) {
  if (span.is_zero()) return;
  const std::string rule = "within " + to_string(span);
  std::optional<Timestamp> limit;
  if (const Candidate* newest = newest_credible(complete)) {
    limit = zone.before(newest->time, span);
  }
  for (Judged& judged : series) {
    if (!limit || judged.snapshot->time > *limit) {
      judged.keep(rule);
    } else {
      judged.object(rule + ": older");
    }
  }
}

Judged& last_arrived(const Chosen& complete) {
  return *std::ranges::max(complete, {}, [](const Judged* judged) {
    const Candidate& s = *judged->snapshot;
    return std::tie(s.arrival, s.time, s.id);
  });
}

// An incomplete snapshot may be the only one that saw the newest data, until a
// complete one has followed.
void keep_unfollowed(Series series, const Chosen& complete) {
  const auto is_followed = [&](const Candidate& incomplete) {
    return !complete.empty() &&
           complete.front()->snapshot->time >= incomplete.time &&
           last_arrived(complete).snapshot->arrival >= incomplete.arrival;
  };
  for (Judged& judged : series) {
    if (judged.snapshot->is_complete) continue;
    if (is_followed(*judged.snapshot)) {
      judged.object("incomplete, and a complete one has followed");
    } else {
      judged.keep("incomplete, but no complete one has followed");
    }
  }
}

void judge(Series series, const RetentionPolicy& policy, const TimeZone& zone) {
  if (policy.is_empty()) {
    for (Judged& judged : series) judged.keep("no rule given");
    return;
  }
  Chosen complete;
  for (Judged& judged : series) {
    if (judged.snapshot->is_complete) complete.push_back(&judged);
  }

  apply_tags(series, policy.tags);
  apply_within(series, complete, policy.within, zone);
  for (const CountingRule& rule : kCountingRules)
    apply_counting(rule, complete, policy);

  for (Judged& judged : series) {
    if (judged.snapshot->is_held) judged.keep("held");
  }
  if (!complete.empty()) {
    last_arrived(complete).keep("last complete of its series");
  }
  keep_unfollowed(series, complete);
}

// Series by series, newest first; arrival and id settle equal times, so that
// the order of the input never matters.
std::vector<Judged> in_order(std::span<const Candidate> candidates,
                             const TimeZone& zone) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t i, std::size_t j) {
    const Candidate &a = candidates[i], &b = candidates[j];
    if (a.series != b.series) return a.series < b.series;
    return std::tie(a.time, a.arrival, a.id) >
           std::tie(b.time, b.arrival, b.id);
  });

  std::vector<Judged> judged;
  judged.reserve(order.size());
  for (const std::size_t i : order) {
    judged.push_back(Judged{.snapshot = &candidates[i],
                            .local = zone.local_time(candidates[i].time),
                            .verdict = Verdict{i, {}, {}}});
  }
  return judged;
}

}  // namespace

bool RetentionPolicy::is_empty() const noexcept {
  return within.is_zero() && tags.empty() &&
         std::ranges::all_of(kCountingRules, [this](const CountingRule& rule) {
           return this->*rule.count == 0;
         });
}

bool RetentionPolicy::needs_time_zone() const noexcept {
  return !within.is_zero() ||
         std::ranges::any_of(kCountingRules, [this](const CountingRule& rule) {
           return rule.period != Period::snapshot && this->*rule.count != 0;
         });
}

std::vector<Verdict> apply_retention(std::span<const Candidate> candidates,
                                     const RetentionPolicy& policy) {
  const TimeZone zone(policy.time_zone);
  std::vector<Judged> judged = in_order(candidates, zone);

  for (auto begin = judged.begin(); begin != judged.end();) {
    const auto end =
        std::find_if(begin, judged.end(), [&](const Judged& other) {
          return other.snapshot->series != begin->snapshot->series;
        });
    judge(Series(begin, end), policy, zone);
    begin = end;
  }

  std::vector<Verdict> verdicts;
  verdicts.reserve(judged.size());
  for (Judged& each : judged) {
    if (!each.verdict.reasons.empty()) each.verdict.objections.clear();
    verdicts.push_back(std::move(each.verdict));
  }
  return verdicts;
}

}  // namespace cairn::repo
