// What is at work while somebody renews the keys, and others write with the new
// ones, goes on or ends with LockedError, whenever that happens: nothing that
// it cannot open passes for damage, or for a newer program's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "repo/check.h"
#include "repo/copy.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/generation_object.h"
#include "repo/key_rotation.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "repo/repair_packs.h"
#include "repo/repair_snapshots.h"
#include "tests/support/observed_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::Files;
using testing_support::ObservedStorage;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::TestRepository;
using testing_support::write_snapshot;

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

const Files kFirst{{"a", noise(1, 20'000)}, {"b", noise(2, 9'000)}};
const Files kOther{{"c", noise(3, 14'000)}};
const Files kLater{{"a", noise(1, 20'000)}, {"d", noise(4, 9'000)}};

constexpr PruneOptions kNothingWasted{.max_unused = 0, .budget = {}};

// What a process does, by a repository that it has opened.
using Work = std::function<void(Repository& repository)>;

// Something for each of them to do.
class RenewedKeys : public ::testing::Test {
 protected:
  struct World {
    World() {
      auto repository = test.open();
      states[write_snapshot(repository, kFirst, at_hour(1))] = kFirst;
      const auto going = write_snapshot(repository, kOther, at_hour(2));
      (void)forget_snapshot(repository, going, "test", at_hour(3));
    }

    // With keys of its own, which it renews, another process writes on.
    void renew_and_write() {
      {
        auto owner = test.open_elsewhere(test.disk());
        (void)rotate_keys(test.disk(), owner.keyring(),
                          slots_to_grant(test.disk(), owner.keyring()),
                          at_hour(4));
      }
      auto other = test.open_elsewhere(test.disk());
      states[write_snapshot(other, kLater, at_hour(5))] = kLater;
      const auto gone = write_snapshot(other, kOther, at_hour(6));
      (void)forget_snapshot(other, gone, "test", at_hour(7));
      (void)prune(other, kNothingWasted, at_hour(8), {}, {}, nullptr);
    }

    TestRepository test;
    std::map<SessionId, Files> states;
  };

  // How many runs ended how.
  struct Ends {
    std::size_t interrupted = 0;
    std::size_t went_on = 0;
  };
  Ends ended;

  // Calls to the storage that `work` takes when it is left alone.
  static std::size_t calls_of(const Work& work) {
    World world;
    ObservedStorage observed(world.test.disk());
    std::size_t calls = 0;
    auto repository = world.test.open_elsewhere(observed);
    observed.before_read = [&](std::string_view) { ++calls; };
    observed.before_write = observed.before_read;
    work(repository);
    return calls;
  }

  void expect_right_whenever_it_happens(const Work& work) {
    constexpr std::size_t kMoments = 16;
    const std::size_t calls = calls_of(work);
    ASSERT_GT(calls, 0U);
    const std::size_t moments = std::min(kMoments, calls);
    std::size_t interrupted = 0;
    for (std::size_t i = 0; i < moments; ++i) {
      // From the first to the last.
      const std::size_t moment =
          moments == 1 ? 0 : i * (calls - 1) / (moments - 1);
      SCOPED_TRACE("renewed at call " + std::to_string(moment) + " of " +
                   std::to_string(calls));
      World world;
      ObservedStorage observed(world.test.disk());
      {
        auto repository = world.test.open_elsewhere(observed);
        std::size_t call = 0;
        bool is_renewed = false;
        observed.before_read = [&](std::string_view) {
          if (call++ != moment) return;
          is_renewed = true;
          world.renew_and_write();
        };
        observed.before_write = observed.before_read;
        try {
          work(repository);
        } catch (const LockedError&) {
          EXPECT_TRUE(is_renewed) << "stopped, and nobody renewed the keys";
          ++interrupted;
        }
        EXPECT_TRUE(is_renewed) << "that moment did not come";
      }
      auto again = world.test.open_elsewhere(world.test.disk());
      work(again);
      auto states = read_all_snapshots(again);
      for (const auto& [id, files] : world.states) {
        EXPECT_EQ(states[id], files);
      }
      const auto report = check(
          again, {.level = CheckLevel::data, .now = at_hour(99)}, {}, nullptr);
      EXPECT_EQ(report.count(Severity::damage), 0U);
      EXPECT_EQ(report.count(Severity::unsupported), 0U);
      if (HasFailure()) return;
    }
    ended.interrupted = interrupted;
    ended.went_on = moments - interrupted;
  }
};

TEST_F(RenewedKeys, APruneGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    (void)prune(repository, kNothingWasted, at_hour(20), {}, {}, nullptr);
  });
  EXPECT_GT(ended.interrupted, 0U);
  EXPECT_GT(ended.went_on, 0U);
}

TEST_F(RenewedKeys, ABackupGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    (void)write_snapshot(repository, kLater, at_hour(20));
  });
  EXPECT_GT(ended.interrupted, 0U);
  EXPECT_GT(ended.went_on, 0U);
}

TEST_F(RenewedKeys, ARepairOfPacksGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    PackRepairOptions options;
    options.now = at_hour(20);
    const auto repaired = repair_packs(repository, options, {}, nullptr);
    EXPECT_TRUE(repaired.troubles.empty());
    EXPECT_TRUE(repaired.packs.empty());
    EXPECT_EQ(repaired.blobs_lost, 0U);
  });
}

TEST_F(RenewedKeys, APlanToRepairPacksSaysSo) {
  World world;
  auto repository = world.test.open_elsewhere(world.test.disk());
  world.renew_and_write();
  PackRepairOptions options;
  options.now = at_hour(20);
  options.carry = Carry::plan_only;

  EXPECT_THROW((void)repair_packs(repository, options, {}, nullptr),
               LockedError);
}

TEST_F(RenewedKeys, ARepairOfSnapshotsGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    SnapshotRepairOptions options;
    options.clock = [] { return at_hour(20); };
    const auto repaired = repair_snapshots(repository, options, {}, nullptr);
    EXPECT_TRUE(repaired.damage.empty());
    EXPECT_TRUE(repaired.snapshots.empty());
  });
}

TEST_F(RenewedKeys, ARepairOfTheIndexGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    EXPECT_TRUE(repair_index(repository, {}, nullptr).damage.empty());
  });
}

TEST_F(RenewedKeys, ACheckGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    const auto report =
        check(repository, {.level = CheckLevel::data, .now = at_hour(99)}, {},
              nullptr);
    EXPECT_EQ(report.count(Severity::damage), 0U);
    EXPECT_EQ(report.count(Severity::unsupported), 0U);
  });
  EXPECT_GT(ended.interrupted, 0U);
  EXPECT_GT(ended.went_on, 0U);
}

TEST_F(RenewedKeys, ACopyFromThereGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    TestRepository target;
    auto to = target.open();
    const auto list = repository.snapshots(at_hour(20));
    EXPECT_TRUE(list.damage.empty());
    const auto report =
        copy_snapshots(repository, to, list.snapshots,
                       {.clock = [] { return at_hour(20); }}, {}, {}, nullptr);
    for (const auto& one : report.snapshots) {
      EXPECT_NE(one.outcome, CopyOutcome::failed) << one.why;
    }
  });
}

TEST_F(RenewedKeys, ACopyToThereGoesOnOrSaysSo) {
  expect_right_whenever_it_happens([](Repository& repository) {
    TestRepository source;
    auto from = source.open();
    (void)write_snapshot(from, kLater, at_hour(1));
    (void)write_snapshot(from, kOther, at_hour(2));
    const auto list = from.snapshots(at_hour(20));
    const auto report =
        copy_snapshots(from, repository, list.snapshots,
                       {.clock = [] { return at_hour(20); }}, {}, {}, nullptr);
    EXPECT_TRUE(report.damage.empty());
    for (const auto& one : report.snapshots) {
      EXPECT_NE(one.outcome, CopyOutcome::failed) << one.why;
    }
  });
}

// Whether the series has another complete one cannot be seen then.
TEST_F(RenewedKeys, AForgetThatCannotLookAgainTakesItsMarksBack) {
  World world;
  ObservedStorage observed(world.test.disk());
  auto repository = world.test.open_elsewhere(observed);
  const auto list = repository.snapshots(at_hour(20));
  ASSERT_EQ(list.snapshots.size(), 1U);
  bool are_renewed = false;
  observed.before_write = [&](std::string_view name) {
    if (!name.starts_with("marks/") || std::exchange(are_renewed, true)) return;
    world.renew_and_write();
  };
  const ToForget going{&list.snapshots.front(), "test"};

  EXPECT_THROW((void)forget_snapshots(repository, {&going, 1},
                                      LastComplete::stays, at_hour(20)),
               LockedError);

  auto again = world.test.open_elsewhere(world.test.disk());
  EXPECT_EQ(read_all_snapshots(again), world.states);
}

TEST_F(RenewedKeys, NorOneWhoseStorageFailsThen) {
  World world;
  ObservedStorage observed(world.test.disk());
  auto repository = world.test.open_elsewhere(observed);
  const auto list = repository.snapshots(at_hour(20));
  ASSERT_EQ(list.snapshots.size(), 1U);
  bool is_forgotten = false;
  observed.before_write = [&](std::string_view name) {
    is_forgotten = is_forgotten || name.starts_with("marks/");
  };
  observed.before_read = [&](std::string_view) {
    if (is_forgotten) throw IoError("the disk fails");
  };
  const ToForget going{&list.snapshots.front(), "test"};

  EXPECT_THROW((void)forget_snapshots(repository, {&going, 1},
                                      LastComplete::stays, at_hour(20)),
               IoError);

  ASSERT_TRUE(is_forgotten);
  auto again = world.test.open_elsewhere(world.test.disk());
  EXPECT_EQ(read_all_snapshots(again), world.states);
}

// With older keys a backup would seal for who was to be shut out.
TEST_F(RenewedKeys, ThatOnlyAMarkBearsKeepOthersFromWriting) {
  World world;
  {
    auto owner = world.test.open_elsewhere(world.test.disk());
    (void)rotate_keys(world.test.disk(), owner.keyring(),
                      slots_to_grant(world.test.disk(), owner.keyring()),
                      at_hour(4));
  }
  {
    auto owner = world.test.open_elsewhere(world.test.disk());
    (void)forget_snapshot(owner, world.states.begin()->first, "test",
                          at_hour(5));
  }
  for (const auto& name : generation_names(2)) world.test.disk().remove(name);

  auto repository = world.test.open_elsewhere(world.test.disk());
  EXPECT_THROW((void)write_snapshot(repository, kLater, at_hour(6)),
               RefusedForSafety);
}

// Nobody's newer program wrote what they opened.
TEST_F(RenewedKeys, ThatAreLostAreDamage) {
  World world;
  world.renew_and_write();
  for (const auto& name : generation_names(2)) world.test.disk().remove(name);

  for (const auto level :
       {CheckLevel::index, CheckLevel::structure, CheckLevel::data}) {
    auto repository = world.test.open_elsewhere(world.test.disk());
    const auto report =
        check(repository, {.level = level, .now = at_hour(99)}, {}, nullptr);

    EXPECT_EQ(
        std::ranges::count_if(report.findings,
                              [](const Finding& finding) {
                                return finding.severity == Severity::damage &&
                                       finding.code == "damaged-generation";
                              }),
        1);
    EXPECT_TRUE(
        std::ranges::any_of(report.findings, [](const Finding& finding) {
          return finding.severity == Severity::unsupported &&
                 finding.code == "missing-keys";
        }));
  }
}

}  // namespace
}  // namespace cairn::repo
