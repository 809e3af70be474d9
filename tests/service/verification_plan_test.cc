#include "service/verification_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/support/for_each_seed.h"

namespace cairn::service {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using testing_support::for_each_seed;

constexpr Moment kNow{seconds(1'700'000'000)};
constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr hours kADay{24};

repo::PackId id_of(unsigned number) {
  repo::PackId id;
  id.bytes[0] = static_cast<std::byte>(number >> 8U);
  id.bytes[1] = static_cast<std::byte>(number & 0xffU);
  return id;
}

std::vector<repo::StoredPack> packs(unsigned count, std::uint64_t size = kMib) {
  std::vector<repo::StoredPack> all;
  for (unsigned i = 0; i < count; ++i) all.push_back({id_of(i), size});
  return all;
}

std::vector<repo::PackId> ids_in(const std::vector<repo::StoredPack>& all) {
  std::vector<repo::PackId> ids;
  for (const auto& pack : all) ids.push_back(pack.id);
  return ids;
}

VerifiedPacks all_read(const std::vector<repo::StoredPack>& stored,
                       Moment when) {
  VerifiedPacks known{.sound = {}, .damaged = {}, .unread = {}, .paced = when};
  for (const auto& pack : stored) known.sound[pack.id] = when;
  return known;
}

TEST(VerificationPlan, ReadsWhatWasWrittenWhateverItCosts) {
  const auto stored = packs(5, 10 * kMib);
  const auto plan =
      plan_verification(stored, {id_of(1), id_of(3)}, all_read(stored, kNow),
                        {.budget = 0}, kNow);
  EXPECT_EQ(ids_in(plan.written), (std::vector{id_of(1), id_of(3)}));
  EXPECT_TRUE(plan.again.empty());
}

TEST(VerificationPlan, BeginsWithWhatWasNeverRead) {
  const auto stored = packs(4);
  auto known = all_read(stored, kNow - kADay);
  known.sound.erase(id_of(2));
  const auto plan = plan_verification(stored, {}, known, {}, kNow);
  ASSERT_FALSE(plan.again.empty());
  EXPECT_EQ(plan.again.front().id, id_of(2));
}

TEST(VerificationPlan, ReadsADamagedOneAgainUntilItIsSound) {
  const auto stored = packs(4);
  auto known = all_read(stored, kNow);
  known.damaged[id_of(3)] = kNow - kADay;
  const auto plan = plan_verification(stored, {}, known, {}, kNow);
  EXPECT_EQ(ids_in(plan.again), (std::vector{id_of(3)}));
}

TEST(VerificationPlan, DoesNotBelieveAReadingOfTheFuture) {
  const auto stored = packs(1);
  const auto plan =
      plan_verification(stored, {}, all_read(stored, kNow + kADay), {}, kNow);
  EXPECT_EQ(ids_in(plan.again), (std::vector{id_of(0)}));
  EXPECT_LE(plan.paced, kNow);
}

TEST(VerificationPlan, StaysInsideItsBudget) {
  const auto plan =
      plan_verification(packs(100), {}, {}, {.budget = 7 * kMib + 5}, kNow);
  EXPECT_EQ(plan.again.size(), 7U);
}

TEST(VerificationPlan, ReadsOnePackThatIsLargerThanItsBudget) {
  EXPECT_EQ(
      plan_verification(packs(3), {}, {}, {.budget = 1}, kNow).again.size(),
      1U);
  EXPECT_TRUE(
      plan_verification(packs(3), {}, {}, {.budget = 0}, kNow).again.empty());
}

TEST(VerificationPlan, ReadsNothingTwiceInAnHour) {
  const auto stored = packs(100);
  const auto plan = plan_verification(
      stored, {}, all_read(stored, kNow - std::chrono::hours(1)), {}, kNow);
  EXPECT_TRUE(plan.again.empty());
}

// Runs at any times, of a repository that grows and is pruned: with a budget
// that suffices, no pack is ever older than the cycle.
TEST(VerificationPlan, ReadsEveryPackWithinTheCycle) {
  for_each_seed(40, [](std::mt19937_64& random) {
    const VerificationRules rules{.cycle = 30 * kADay, .budget = 4096 * kMib};
    const seconds usual = random() % 2 == 0 ? seconds(kADay) : hours(1);
    std::vector<repo::StoredPack> stored = packs(200);
    VerifiedPacks known;
    if (random() % 2 == 0) known = all_read(stored, kNow);
    unsigned next = 200;
    Moment now = kNow;
    std::map<repo::PackId, Moment> born;
    for (const auto& pack : stored) born[pack.id] = now;
    while (now < kNow + 70 * kADay) {
      now += usual + seconds(random() % 1000);
      std::set<repo::PackId> written;
      if (random() % 4 == 0) {
        stored.push_back({id_of(next), (1 + random() % 64) * kMib});
        written.insert(id_of(next));
        born[id_of(next++)] = now;
      }
      if (random() % 6 == 0) {
        stored.erase(stored.begin() +
                     static_cast<std::ptrdiff_t>(random() % stored.size()));
      }
      const auto plan = plan_verification(stored, written, known, rules, now);
      for (const auto* const list : {&plan.written, &plan.again}) {
        for (const auto& pack : *list) known.sound[pack.id] = now;
      }
      known.paced = plan.paced;
      for (const auto& pack : stored) {
        const auto read = known.sound.find(pack.id);
        const Moment since =
            read == known.sound.end() ? born[pack.id] : read->second;
        ASSERT_LE(now - since, rules.cycle);
      }
    }
  });
}

// Else a repository that was written in one night would be read in one, a cycle
// later, and a budget that would do for it all would not do for that night.
TEST(VerificationPlan, SpreadsWhatWasReadInOneNight) {
  const VerificationRules rules{.cycle = 30 * kADay, .budget = 5 * kMib};
  const auto stored = packs(100);
  auto known = all_read(stored, kNow);
  std::size_t most = 0;
  for (int day = 1; day <= 90; ++day) {
    const Moment now = kNow + day * kADay;
    const auto plan = plan_verification(stored, {}, known, rules, now);
    most = std::max(most, plan.again.size());
    for (const auto& pack : plan.again) known.sound[pack.id] = now;
    known.paced = plan.paced;
    EXPECT_EQ(coverage_of(stored, known, rules.cycle, now).late, 0U) << day;
  }
  EXPECT_LE(most, 5U);
}

TEST(VerificationPlan, TellsHowFarItHasCome) {
  const auto stored = packs(6);
  auto known = all_read(stored, kNow - kADay);
  known.sound[id_of(1)] = kNow - 31 * kADay;
  known.sound.erase(id_of(2));
  known.damaged[id_of(3)] = kNow;
  known.sound[id_of(4)] = kNow + kADay;
  const auto coverage = coverage_of(stored, known, 30 * kADay, kNow);

  EXPECT_EQ(coverage.packs, 6U);
  EXPECT_EQ(coverage.late, 1U);
  EXPECT_EQ(coverage.never, 2U);
  EXPECT_EQ(coverage.damaged, 1U);
  EXPECT_EQ(coverage.oldest, kNow - 31 * kADay);
}

}  // namespace
}  // namespace cairn::service
