// Prune beside writers and other prunes: whom it waits for, and what epochs
// say.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::count_in;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::forget;
using testing_support::noise;
using testing_support::nothing_wasted;
using testing_support::plan_of;
using testing_support::prune_all;
using testing_support::read_all_snapshots;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_snapshot;

// It may rest on anything that was there when it began.
TEST(Prune, WaitsForASessionFromBeforeAndTheNextOneGoesOn) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  const auto old = write_snapshot(repository, files, at_hour(1));
  auto other = test.open();
  StateWriter writer(other);
  forget(repository, old);
  const auto packs = count_in(test.disk(), "packs");

  const auto first = prune_all(repository);
  EXPECT_EQ(first.waits_for.size(), 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), packs);
  testing_support::write_files(writer, files);  // all of it was there already
  const auto id = writer.commit(at_hour(2));
  const auto second = prune_all(repository);

  EXPECT_TRUE(second.waits_for.empty());
  EXPECT_EQ(second.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_TRUE(read_all_snapshots(reader).contains(id));
}

TEST(Prune, TakesAwayWhatASessionFromBeforeDidNotNeedAfterAll) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  auto other = test.open();
  StateWriter writer(other);

  (void)prune_all(repository);
  testing_support::write_files(writer, {{"b", noise(2, 9'000)}});
  (void)writer.commit(at_hour(2));
  const auto second = prune_all(repository);

  EXPECT_GT(second.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_EQ(plan_of(reader, nothing_wasted()).removed.packs, 0U);
}

// Between condemnation and doom others begin: they use nothing that is
// condemned, and nobody waits for them.
TEST(Prune, LetsWritersBeginWhileItWaitsAndWaitsForNoneOfThem) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  forget(repository, write_snapshot(repository, files, at_hour(1)));
  auto slow = test.open();
  StateWriter before(slow);
  EXPECT_EQ(prune_all(repository).waits_for.size(), 1U);

  auto other = test.open();
  const auto later = write_snapshot(other, files, at_hour(2));
  auto third = test.open();
  const StateWriter still_at_work(third);
  testing_support::write_files(before, {{"b", noise(2, 9'000)}});
  (void)before.commit(at_hour(3));
  const auto outcome = prune_all(repository);

  EXPECT_GT(outcome.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 2U);
  EXPECT_EQ(read_all_snapshots(reader).at(later), files);
}

TEST(Prune, FencesASessionWhoseProcessIsGone) {
  TestRepository test;
  auto repository = test.open();
  StateWriter writer(repository);
  testing_support::write_files(writer, {{"a", noise(1, 9'000)}});
  writer.publish_index();
  test.let_processes_die();

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.sessions_fenced, 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
  // The tombstone is settled by now: the slot is free, and void all the same.
  EXPECT_THROW((void)writer.commit(at_hour(1)), LockedError);
  auto reader = test.open();
  EXPECT_TRUE(read_all_snapshots(reader).empty());
}

// Where two could both take a slot, only the session itself can end it.
TEST(Prune, FencesNobodyOnAStorageThatSettlesNoRace) {
  class LastWins : public FaultyStorage {
   public:
    using FaultyStorage::FaultyStorage;
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      if (name.starts_with("probes/")) remove(name);
      return FaultyStorage::create(name, bytes);
    }
  };
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  auto other = test.open();
  const StateWriter writer(other);
  test.let_processes_die();
  const auto packs = count_in(test.disk(), "packs");
  auto weak = test.open_through(std::make_unique<LastWins>(test.disk()));

  const auto outcome = prune_all(weak);

  EXPECT_FALSE(outcome.can_fence);
  EXPECT_EQ(outcome.sessions_fenced, 0U);
  EXPECT_EQ(outcome.waits_for.size(), 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), packs);
  EXPECT_EQ(prune_all(repository).sessions_fenced, 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
}

// A folder, say: it is not listed, and its name is taken.
// Who fenced it slept before it took the registration away.
TEST(Prune, LeavesATombstoneAsLongAsItsSessionIsRegistered) {
  TestRepository test;
  auto repository = test.open();
  auto other = test.open();
  StateWriter writer(other);
  ASSERT_EQ(
      publish_tombstone(test.disk(), repository.keyring(), repository.signer(),
                        {writer.session(), at_hour(1), "fenced"}),
      Created::created);
  for (int hour = 2; hour <= 4; ++hour) {
    forget(repository,
           write_snapshot(repository,
                          {{"a", noise(static_cast<unsigned>(hour), 9'000)}},
                          at_hour(hour)));
    (void)prune_all(repository);
    EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  }
  remove_registration(test.disk(), writer.session());
  forget(repository,
         write_snapshot(repository, {{"a", noise(9, 9'000)}}, at_hour(5)));

  (void)prune_all(repository);

  EXPECT_EQ(count_in(test.disk(), "snapshots"), 0U);
}

TEST(Prune, EndsWhereWhatHasAnEpochsNameIsNone) {
  class Taken : public FaultyStorage {
   public:
    using FaultyStorage::FaultyStorage;
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      if (name.starts_with("epochs/")) return Created::exists;
      return FaultyStorage::create(name, bytes);
    }
  };
  TestRepository test;
  {
    auto repository = test.open();
    forget(repository,
           write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  }
  auto repository = test.open_through(std::make_unique<Taken>(test.disk()));

  EXPECT_THROW((void)prune_all(repository), CorruptionError);
  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
}

// Calls `meanwhile` once before that folder is listed, after a doom.
class Meanwhile : public FaultyStorage {
 public:
  Meanwhile(Storage& inner, std::string folder, std::function<void()> meanwhile)
      : FaultyStorage(inner),
        inner_(inner),
        folder_(std::move(folder)),
        meanwhile_(std::move(meanwhile)) {}

  void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const override {
    if (folder == folder_ && inner_.size(epoch_name(2)) && meanwhile_) {
      std::exchange(meanwhile_, {})();
    }
    FaultyStorage::list(folder, visit);
  }

 private:
  Storage& inner_;
  std::string folder_;
  mutable std::function<void()> meanwhile_;
};

TEST(Prune, LeavesTheIndexOfABackupThatEndsWhileItRewritesTheIndex) {
  for (const std::string folder : {"index", "packs"}) {
    SCOPED_TRACE(folder);
    TestRepository test;
    {
      auto repository = test.open();
      forget(repository,
             write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
    }
    auto other = test.open();
    auto repository =
        test.open_through(std::make_unique<Meanwhile>(test.disk(), folder, [&] {
          (void)write_snapshot(other, {{"b", noise(2, 9'000)}}, at_hour(2));
        }));

    (void)prune_all(repository);

    auto reader = test.open();
    EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
    std::set<PackId> vouched;
    for (const auto& index :
         read_index_contents(test.disk(), reader.keyring())) {
      if (index.assurance != Assurance::for_everyone()) continue;
      vouched.insert(index.packs.begin(), index.packs.end());
    }
    for (const auto& pack : list_packs(test.disk())) {
      EXPECT_TRUE(vouched.contains(pack.id));
    }
  }
}

TEST(Prune, IsAskedOnceAndOthersMayWriteMeanwhile) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  forget(repository, write_snapshot(repository, files, at_hour(1)));
  unsigned asked = 0;
  std::optional<SessionId> committed;

  (void)prune(repository, {}, at_hour(2),
              {.decide =
                   [&](const PrunePlan&) {
                     ++asked;
                     auto other = test.open();
                     committed = write_snapshot(other, files, at_hour(3));
                     return Proceed::yes;
                   },
               .waits = {}},
              {}, nullptr);

  EXPECT_EQ(asked, 1U);
  auto reader = test.open();
  EXPECT_TRUE(read_all_snapshots(reader).contains(*committed));
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
}

TEST(Prune, FinishesWhatAnotherOneLeftOpen) {
  TestRepository test;
  auto repository = test.open();
  const auto kept =
      write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(1));
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(2)));
  auto other = test.open();
  {
    StateWriter writer(other);
    EXPECT_EQ(prune_all(repository).waits_for.size(), 1U);
  }
  test.let_processes_die();
  EXPECT_EQ(list_epochs(test.disk()).back(), 1U);

  auto later = test.open();
  const auto outcome = prune_all(later);

  EXPECT_EQ(outcome.removed.packs, 2U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_TRUE(read_all_snapshots(reader).contains(kept));
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "marks"), 0U);
}

TEST(Prune, KeepsWhatGoesInTheTrashUntilItIsOldEnough) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  PruneOptions options;
  options.trash = std::chrono::hours(24);
  const auto at = [&](std::int64_t hour) {
    return prune(repository, options, at_hour(hour), {}, {}, nullptr);
  };

  EXPECT_EQ(at(100).trash.packs, 2U);
  EXPECT_EQ(at(123).trash.packs, 2U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
  EXPECT_EQ(at(124).removed.packs, 2U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
}

TEST(Prune, WritesANewEpochAfterOneThatIsDamaged) {
  for (const std::uint64_t damaged : {1U, 2U}) {
    TestRepository test;
    auto repository = test.open();
    const auto kept =
        write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(1));
    forget(repository,
           write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(2)));
    if (damaged == 1) {
      auto other = test.open();
      const StateWriter writer(other);
      (void)prune_all(repository);
      test.let_processes_die();
    } else {
      (void)prune_all(repository);
      forget(repository,
             write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(3)));
    }
    ASSERT_EQ(list_epochs(test.disk()).back(), damaged);
    test.disk().flip_bit(epoch_name(damaged), 80, 1);

    (void)prune_all(repository);

    EXPECT_GT(list_epochs(test.disk()).back(), damaged);
    auto reader = test.open();
    EXPECT_TRUE(reader.snapshots(at_hour(9)).damage.empty());
    EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
    EXPECT_TRUE(read_all_snapshots(reader).contains(kept));
    EXPECT_EQ(plan_of(reader, nothing_wasted()).removed.packs, 0U);
  }
}

// Else backups would be refused for ever.
TEST(Prune, GoesOnAfterEpochsThatAreDamagedAlsoWhenNothingGoes) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  (void)write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(2));
  (void)prune_all(repository);
  for (const std::uint64_t number : {1U, 2U}) {
    test.disk().flip_bit(epoch_name(number), 80, 1);
  }
  EXPECT_THROW((void)StateWriter(repository), CorruptionError);

  (void)prune_all(repository);

  EXPECT_NO_THROW((void)StateWriter(repository));
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
}

TEST(Prune, KeepsTheLastFourEpochs) {
  TestRepository test;
  auto repository = test.open();
  for (int i = 1; i <= 5; ++i) {
    forget(repository,
           write_snapshot(repository,
                          {{"a", noise(static_cast<unsigned>(i), 9'000)}},
                          at_hour(i)));
    (void)prune_all(repository);
  }
  EXPECT_EQ(list_epochs(test.disk()),
            (std::vector<std::uint64_t>{7, 8, 9, 10}));
}

}  // namespace
}  // namespace cairn::repo
