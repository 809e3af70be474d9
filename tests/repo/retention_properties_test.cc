// What holds for every policy and all snapshots.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "repo/retention.h"
#include "tests/repo/retention_snapshots.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo::retention_test {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing_support::for_each_seed;

int pick(std::mt19937_64& random, int below) {
  return static_cast<int>(random() % static_cast<std::uint64_t>(below));
}

Snapshots random_snapshots(std::mt19937_64& random) {
  Snapshots snapshots;
  const Timestamp start = utc("2020-02-20 00:00");
  const std::uint64_t span = std::uint64_t{3600}
                             << pick(random, 16);  // to seven years
  for (int i = pick(random, 60); i > 0; --i) {
    Candidate s = snapshot_at(later(start, seconds(random() % span)));
    s.id = "snapshot " + std::to_string(i);
    s.series = pick(random, 4) ? "host/db" : "host/files";
    s.arrival = later(s.time, seconds(pick(random, 20) ? 60 : -3600));
    if (!pick(random, 8)) s.arrival = later(s.time, hours(24 * 400));
    if (!pick(random, 6)) s.tags.push_back("red");
    if (!pick(random, 6)) s.tags.push_back("blue");
    s.is_complete = pick(random, 6) != 0;
    s.is_held = pick(random, 20) == 0;
    snapshots.push_back(std::move(s));
  }
  return snapshots;
}

int random_count(std::mt19937_64& random) {
  switch (pick(random, 4)) {
    case 0:
      return 1 + pick(random, 30);
    case 1:
      return pick(random, 8) ? 1 + pick(random, 4) : RetentionPolicy::kAll;
    default:
      return 0;
  }
}

RetentionPolicy random_policy(std::mt19937_64& random) {
  RetentionPolicy policy;
  while (policy.is_empty()) {
    policy.last = random_count(random);
    policy.hourly = random_count(random);
    policy.daily = random_count(random);
    policy.weekly = random_count(random);
    policy.monthly = random_count(random);
    policy.yearly = random_count(random);
    if (!pick(random, 4)) policy.within.days = pick(random, 40);
    if (!pick(random, 4)) policy.within.months = pick(random, 14);
    if (!pick(random, 5)) policy.tags.push_back("red");
    if (!pick(random, 2)) {
      policy.week_on = static_cast<Weekday>(pick(random, 7));
    }
    policy.prefer = pick(random, 2) ? Prefer::newest : Prefer::oldest;
    constexpr std::array kZones{"UTC", "Europe/Berlin", "America/New_York",
                                "Asia/Kolkata", "Pacific/Auckland"};
    policy.time_zone = kZones[random() % kZones.size()];
  }
  return policy;
}

std::set<std::string> kept_ids(const Snapshots& snapshots,
                               const RetentionPolicy& policy) {
  const Texts ids = kept(snapshots, policy);
  return {ids.begin(), ids.end()};
}

constexpr std::uint64_t kRuns = 300;

TEST(RetentionProperty, EveryRuleKeepsAtMostWhatItMay) {
  for_each_seed(kRuns, [](auto& random) {
    const Snapshots snapshots = random_snapshots(random);
    const RetentionPolicy policy = random_policy(random);

    std::map<std::pair<std::string, std::string>, int> uses;
    for (const Verdict& verdict : apply_retention(snapshots, policy)) {
      for (std::string reason : verdict.reasons) {
        if (reason.starts_with("oldest ")) reason.erase(0, 7);
        ++uses[{snapshots[verdict.candidate].series, reason}];
      }
    }

    for (const auto& [rule, count] :
         std::map<std::string, int>{{"last", policy.last},
                                    {"hourly", policy.hourly},
                                    {"daily", policy.daily},
                                    {"weekly", policy.weekly},
                                    {"monthly", policy.monthly},
                                    {"yearly", policy.yearly}}) {
      if (count == RetentionPolicy::kAll) continue;
      for (const char* series : {"host/db", "host/files"}) {
        EXPECT_LE((uses[{series, rule + " snapshot"}]), count) << rule;
      }
    }
  });
}

TEST(RetentionProperty, MorePolicyNeverKeepsLess) {
  for_each_seed(kRuns, [](auto& random) {
    const Snapshots snapshots = random_snapshots(random);
    const RetentionPolicy policy = random_policy(random);
    RetentionPolicy more = policy;
    for (int RetentionPolicy::*count :
         {&RetentionPolicy::last, &RetentionPolicy::hourly,
          &RetentionPolicy::daily, &RetentionPolicy::weekly,
          &RetentionPolicy::monthly, &RetentionPolicy::yearly}) {
      if (more.*count != RetentionPolicy::kAll) more.*count += pick(random, 3);
    }
    if (pick(random, 2)) more.within.days += pick(random, 20);
    if (pick(random, 2)) more.tags.push_back("blue");

    const auto fewer = kept_ids(snapshots, policy);
    const auto all = kept_ids(snapshots, more);

    EXPECT_TRUE(std::ranges::includes(all, fewer));
  });
}

TEST(RetentionProperty, TheOrderOfTheInputDoesNotMatter) {
  for_each_seed(kRuns, [](auto& random) {
    Snapshots snapshots = random_snapshots(random);
    const RetentionPolicy policy = random_policy(random);
    const auto before = verdict_of_each(snapshots, policy);

    std::ranges::shuffle(snapshots, random);
    const auto after = verdict_of_each(snapshots, policy);

    ASSERT_EQ(before.size(), after.size());
    for (const auto& [id, verdict] : before) {
      EXPECT_EQ(verdict.reasons, after.at(id).reasons) << id;
      EXPECT_EQ(verdict.objections, after.at(id).objections) << id;
    }
  });
}

TEST(RetentionProperty, ForgettingTwiceForgetsNoMore) {
  for_each_seed(kRuns, [](auto& random) {
    const Snapshots snapshots = random_snapshots(random);
    const RetentionPolicy policy = random_policy(random);

    const Snapshots once = kept_of(snapshots, policy);

    EXPECT_EQ(kept(once, policy), ids_of(once));
  });
}

TEST(RetentionProperty, TheLastArrivedCompleteOneOfEachSeriesStays) {
  for_each_seed(kRuns, [](auto& random) {
    const Snapshots snapshots = random_snapshots(random);
    std::map<std::string, const Candidate*> last;
    for (const Candidate& s : snapshots) {
      if (!s.is_complete) continue;
      const Candidate*& so_far = last[s.series];
      if (!so_far || s.arrival > so_far->arrival) so_far = &s;
    }

    const auto ids = kept_ids(snapshots, random_policy(random));

    for (const auto& [series, snapshot] : last) {
      EXPECT_TRUE(ids.contains(snapshot->id)) << series;
    }
  });
}

TEST(RetentionProperty, EverySnapshotHasOneVerdictThatSaysWhy) {
  for_each_seed(kRuns, [](auto& random) {
    const Snapshots snapshots = random_snapshots(random);
    std::set<std::size_t> judged;

    for (const Verdict& verdict :
         apply_retention(snapshots, random_policy(random))) {
      judged.insert(verdict.candidate);
      EXPECT_NE(verdict.reasons.empty(), verdict.objections.empty());
    }

    EXPECT_EQ(judged.size(), snapshots.size());
  });
}

TEST(RetentionProperty, ForgettingEachTimeEndsWhereForgettingOnceDoes) {
  for_each_seed(60, [](auto& random) {
    Snapshots made = random_snapshots(random);
    std::ranges::sort(made, {}, &Candidate::time);
    for (Candidate& s : made) {
      s.arrival = s.time;
      s.series = "host/db";
      s.is_complete = true;
    }
    const RetentionPolicy policy = random_policy(random);

    EXPECT_EQ(ids_of(after_forgetting_each_time(made, policy)),
              kept(made, policy));
  });
}

}  // namespace
}  // namespace cairn::repo::retention_test
