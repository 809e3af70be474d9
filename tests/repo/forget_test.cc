#include "repo/forget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "repo/error.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::count_in;
using testing_support::forget;
using testing_support::MemoryStorage;
using testing_support::noise;
using testing_support::plan_of;
using testing_support::prune_all;
using testing_support::read_all_snapshots;
using testing_support::TestRepository;
using testing_support::write_snapshot;

TEST(Prune, SettlesHoldsThatAreOver) {
  TestRepository test;
  auto repository = test.open();
  const auto id =
      write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  auto& storage = repository.storage();
  const auto publish = [&](MarkAction action, const SessionId& target,
                           std::optional<Timestamp> until) {
    return publish_mark(storage, repository.keyring(), repository.signer(),
                        {action, target, at_hour(1), "", until});
  };
  const auto lasting = publish(MarkAction::hold, id, std::nullopt);
  (void)publish(MarkAction::hold, id, at_hour(2));
  const auto released = publish(MarkAction::hold, id, std::nullopt);
  (void)publish(MarkAction::release, SessionId{released.bytes}, std::nullopt);

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.marks_settled, 3U);
  const auto marks = read_marks(storage, repository.keyring());
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_EQ(marks[0].id, lasting);
}

TEST(Forget, RefusesAHeldSnapshot) {
  TestRepository test;
  auto repository = test.open();
  const auto id =
      write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  (void)publish_mark(repository.storage(), repository.keyring(),
                     repository.signer(),
                     {MarkAction::hold, id, at_hour(1), "", std::nullopt});

  EXPECT_THROW(forget(repository, id), RefusedForSafety);
  EXPECT_EQ(repository.snapshots(at_hour(600)).snapshots.size(), 1U);
}

MarkId hold(Repository& repository, const SessionId& id) {
  return publish_mark(repository.storage(), repository.keyring(),
                      repository.signer(),
                      {MarkAction::hold, id, at_hour(1), "", std::nullopt});
}

const ValidSnapshot& valid_one(const SnapshotList& list, const SessionId& id) {
  return *std::ranges::find_if(
      list.snapshots, [&](const auto& v) { return v.snapshot.id == id; });
}

TEST(Forget, TellsOfAHoldThatCameMeanwhile) {
  TestRepository test;
  auto repository = test.open();
  const auto id =
      write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  (void)write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(2));
  const auto before = repository.snapshots(at_hour(3));
  (void)hold(repository, id);
  const ToForget forgotten[] = {{&valid_one(before, id), ""}};

  EXPECT_EQ(
      forget_snapshots(repository, forgotten, LastComplete::stays, at_hour(3)),
      std::vector{id});
}

TEST(Forget, OfTwoAtOnceOneLeavesTheSeriesItsLast) {
  TestRepository test;
  auto repository = test.open();
  const auto first =
      write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  const auto second =
      write_snapshot(repository, {{"b", noise(2, 900)}}, at_hour(2));
  const auto before = repository.snapshots(at_hour(3));
  forget(repository, second);
  const ToForget forgotten[] = {{&valid_one(before, first), ""}};

  EXPECT_THROW((void)forget_snapshots(repository, forgotten,
                                      LastComplete::stays, at_hour(3)),
               RefusedForSafety);

  const auto after = repository.snapshots(at_hour(3));
  ASSERT_EQ(after.snapshots.size(), 1U);
  EXPECT_EQ(after.snapshots[0].snapshot.id, first);
}

TEST(Prune, KeepsWhatIsForgottenAndHeldUntilTheHoldIsOver) {
  TestRepository test;
  auto repository = test.open();
  const auto id =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  forget(repository, id);
  const auto held = hold(repository, id);
  const MemoryStorage before = test.disk();

  const auto plan = plan_of(repository, {});
  (void)prune_all(repository);

  EXPECT_EQ(plan.held_slots, std::vector{id});
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), count_in(before, "packs"));
  EXPECT_EQ(count_in(test.disk(), "marks"), 2U);

  (void)publish_mark(repository.storage(), repository.keyring(),
                     repository.signer(),
                     {MarkAction::release, SessionId{held.bytes}, at_hour(2),
                      "", std::nullopt});
  (void)prune_all(repository);

  EXPECT_EQ(count_in(test.disk(), "snapshots"), 0U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
  EXPECT_EQ(count_in(test.disk(), "marks"), 0U);
}

TEST(Prune, DropsASlotThatCannotBeReadOnceItIsForgotten) {
  TestRepository test;
  auto repository = test.open();
  const auto id =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  (void)write_snapshot(repository, {{"b", noise(2, 900)}}, at_hour(2));
  test.disk().flip_bit(snapshot_name(id), 100, 1);
  try {
    (void)prune_all(repository);
    ADD_FAILURE() << "was passed over";
  } catch (const CorruptionError& e) {
    EXPECT_NE(std::string(e.what()).find("cairn forget " + id.hex()),
              std::string::npos);
  }

  forget(repository, id);

  EXPECT_TRUE(repository.snapshots(at_hour(600)).damage.empty());
  (void)prune_all(repository);
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "marks"), 0U);
  EXPECT_EQ(read_all_snapshots(repository).size(), 1U);
}

TEST(Forget, KnowsAnArrivalThatIsYetToCome) {
  Snapshot snapshot;
  snapshot.header.arrival = {10'000, 0};
  EXPECT_FALSE(arrived_in_the_future(snapshot, {6'400, 0}));
  EXPECT_TRUE(arrived_in_the_future(snapshot, {6'399, 0}));
}

TEST(Forget, IsNotForAWriteKey) {
  TestRepository test;
  SessionId id;
  {
    auto repository = test.open();
    id = write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  }
  auto writer = test.open_as(Role::write);

  EXPECT_THROW(forget(writer, id), WrongKey);
}

}  // namespace
}  // namespace cairn::repo
