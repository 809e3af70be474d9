#include "repo/repair_snapshots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/later_snapshots.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/repair_packs.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "tests/repo/damaged_repository.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::CutFalls;
using testing_support::damage_in;
using testing_support::expect_sound;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::noise;
using testing_support::ObservedStorage;
using testing_support::PowerCut;
using testing_support::prune_whole;
using testing_support::read_snapshot;
using testing_support::TestRepository;
using testing_support::write_snapshot;

const Files kFiles{{"a", noise(1, 20'000)},
                   {"folder/b", noise(2, 9'000)},
                   {"folder/c", noise(3, 100)},
                   {"other/d", noise(4, 3'000)}};

SnapshotRepair repair(Repository& repository, Carry carry = Carry::out) {
  return repair_snapshots(repository,
                          {.clock = [] { return at_hour(8); }, .carry = carry},
                          {}, nullptr);
}

// Without the blob that a pack holds at this place.
void lose_row(TestRepository& test, bool of_content, std::size_t place) {
  for (const auto& pack : list_packs(test.disk())) {
    const auto rows = read_pack_directory(test.disk(), test.keyring(), pack.id)
                          .pack.directory.rows;
    if ((rows.front().kind == BlobKind::content) != of_content) continue;
    std::uint64_t offset = kPackHeadBytes;
    for (std::size_t i = 0; i < place; ++i) offset += rows[i].stored_size;
    test.disk().flip_bit(pack_name(pack.id), offset + 3, 1);
  }
  auto repository = test.open();
  PackRepairOptions options;
  options.now = at_hour(7);
  (void)repair_packs(repository, options, {}, nullptr);
}

Snapshot snapshot_of(Repository& repository, const SessionId& id) {
  for (auto& valid : repository.snapshots(at_hour(9)).snapshots) {
    if (valid.snapshot.id == id) return std::move(valid.snapshot);
  }
  throw NotFound("no such snapshot");
}

void forget_and_prune(TestRepository& test, const SessionId& id) {
  auto repository = test.open();
  (void)forget_snapshot(repository, id, "test", at_hour(9));
  prune_whole(repository);
}

TEST(RepairSnapshots, LeavesASoundRepositoryAsItIs) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  const auto packs = list_packs(test.disk());

  const auto repaired = repair(repository);

  EXPECT_EQ(repaired.snapshots_read, 1U);
  EXPECT_TRUE(repaired.snapshots.empty());
  EXPECT_EQ(list_packs(test.disk()), packs);
}

TEST(RepairSnapshots, LeavesOutAFileThatLacksContent) {
  TestRepository test;
  auto repository = test.open();
  const auto old = write_snapshot(repository, kFiles, at_hour(1));
  lose_row(test, true, 6);  // the second chunk of folder/b
  auto again = test.open();

  const auto repaired = repair(again);

  ASSERT_EQ(repaired.snapshots.size(), 1U);
  EXPECT_EQ(repaired.snapshots.front().left_out, 1U);
  ASSERT_EQ(repaired.lost.paths.size(), 1U);
  EXPECT_EQ(repaired.lost.paths.front(), (LostPath{old, "/folder/b"}));
  const auto one = snapshot_of(again, old);
  const auto made = snapshot_of(again, repaired.snapshots.front().made.value());
  Files whole = kFiles;
  whole.erase("folder/b");
  EXPECT_EQ(read_snapshot(again, made.header.root), whole);
  EXPECT_EQ(made.header.time, one.header.time);
  EXPECT_FALSE(made.header.is_complete);
  EXPECT_EQ(made.header.entries, one.header.entries - 1);
  EXPECT_EQ(made.header.logical_bytes, one.header.logical_bytes - 9'000);
  EXPECT_EQ(made.record->tags, std::vector<std::string>{"repaired"});
  EXPECT_EQ(made.record->repaired_from, old);

  EXPECT_FALSE(damage_in(again).empty());
  forget_and_prune(test, old);
  expect_sound(test);
  auto last = test.open();
  EXPECT_EQ(read_snapshot(last, made.header.root), whole);
}

// Else the whole one could not be copied here again.
TEST(RepairSnapshots, MakesNoCopyOfWhatWasCopied) {
  TestRepository test;
  auto repository = test.open();
  const auto first =
      snapshot_of(repository, write_snapshot(repository, kFiles, at_hour(1)));
  Session session(repository.storage(), repository.keyring(),
                  repository.signer(), at_hour(2));
  SnapshotHeader header = first.header;
  header.epoch = session.epoch().number;
  SnapshotRecord record = *first.record;
  record.origin = SnapshotOrigin{RepositoryId{}, first.id};
  (void)publish_snapshot(repository.storage(), repository.keyring(),
                         repository.signer(), session.id(), header, record);
  session.end();
  lose_row(test, true, 6);
  auto again = test.open();

  const auto repaired = repair(again);

  ASSERT_EQ(repaired.snapshots.size(), 2U);
  for (const auto& one : repaired.snapshots) {
    const auto made = snapshot_of(again, one.made.value());
    EXPECT_FALSE(made.record->origin);
    EXPECT_EQ(made.record->repaired_from, one.source);
  }
}

TEST(RepairSnapshots, MakesNoSecondOne) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  lose_row(test, true, 0);
  auto again = test.open();
  const auto first = repair(again);

  const auto second = repair(again);

  ASSERT_EQ(second.snapshots.size(), 1U);
  EXPECT_TRUE(second.snapshots.front().was_made_before);
  EXPECT_EQ(second.snapshots.front().made, first.snapshots.front().made);
  EXPECT_EQ(second.lost.paths, first.lost.paths);
  EXPECT_EQ(again.snapshots(at_hour(9)).snapshots.size(), 2U);
}

// Else who holds one could keep an owner from it, with a snapshot of nothing.
TEST(RepairSnapshots, BelievesNoWriteKeyThatItWasMade) {
  TestRepository test;
  auto repository = test.open();
  const auto old = write_snapshot(repository, kFiles, at_hour(1));
  const auto one = snapshot_of(repository, old);
  {
    auto writer = test.open_as(Role::write);
    Session session(writer.storage(), writer.keyring(), writer.signer(),
                    at_hour(2));
    SnapshotHeader header = one.header;
    header.epoch = session.epoch().number;
    SnapshotRecord record = *one.record;
    record.repaired_from = old;
    (void)publish_snapshot(writer.storage(), writer.keyring(), writer.signer(),
                           session.id(), header, record);
    session.end();
  }
  ASSERT_EQ(repository.snapshots(at_hour(9)).snapshots.size(), 2U);
  lose_row(test, true, 0);
  auto again = test.open();

  const auto repaired = repair(again);

  ASSERT_FALSE(repaired.snapshots.empty());
  for (const auto& snapshot : repaired.snapshots) {
    EXPECT_FALSE(snapshot.was_made_before);
  }
}

TEST(LaterSnapshots, HaveNoneThatIsForgottenOrVoid) {
  TestRepository test;
  auto repository = test.open();
  const auto going = write_snapshot(repository, kFiles, at_hour(1));
  (void)forget_snapshot(repository, going, "test", at_hour(2));
  const auto header = [&] {
    (void)write_snapshot(repository, kFiles, at_hour(3));
    return repository.snapshots(at_hour(9)).snapshots.front().snapshot.header;
  }();
  prune_whole(repository);
  LaterSnapshots later(test.disk(), test.keyring());
  const auto forgotten = write_snapshot(repository, kFiles, at_hour(4));
  const auto valid = write_snapshot(repository, kFiles, at_hour(5));
  (void)forget_snapshot(repository, forgotten, "test", at_hour(6));
  // Of a session from before the last doom, which does not list it.
  SnapshotHeader late = header;
  late.epoch = 0;
  (void)publish_snapshot(repository.storage(), repository.keyring(),
                         repository.signer(), SessionId{}, late, {});

  const auto found = later.look();

  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().id, valid);
}

// But for its commit, before which it looks again.
TEST(RepairSnapshots, MakesNoneThatAnotherOneMakesAtTheSameTime) {
  bool finished = false;
  for (int write = 0; !finished; ++write) {
    SCOPED_TRACE("the other one repairs at write " + std::to_string(write));
    TestRepository test;
    {
      auto repository = test.open();
      (void)write_snapshot(repository, kFiles, at_hour(1));
    }
    lose_row(test, true, 6);
    ObservedStorage observed(test.disk());
    int writes = 0;
    observed.before_write = [&](std::string_view name) {
      if (name.starts_with("snapshots/") || writes++ != write) return;
      auto other = test.open();
      (void)repair(other);
    };
    auto repository =
        test.open_through(std::make_unique<FaultyStorage>(observed));

    const auto repaired = repair(repository);

    ASSERT_EQ(repaired.snapshots.size(), 1U);
    EXPECT_TRUE(repaired.snapshots.front().made);
    EXPECT_EQ(list_slots(test.disk()).size(), 2U);
    finished = writes <= write;
    if (HasFailure()) return;
  }
}

TEST(RepairSnapshots, KeepsWhatIsBesideALostNode) {
  // Each of the nodes in turn: of folders, of the root, and their names.
  for (std::size_t place = 0; place < 6; ++place) {
    SCOPED_TRACE(place);
    TestRepository test;
    auto repository = test.open();
    const auto old = write_snapshot(repository, kFiles, at_hour(1));
    lose_row(test, false, place);
    auto again = test.open();

    const auto repaired = repair(again);

    ASSERT_EQ(repaired.snapshots.size(), 1U);
    ASSERT_EQ(repaired.lost.paths.size(), 1U);
    const auto& path = repaired.lost.paths.front().path;
    const auto& made = repaired.snapshots.front().made;
    EXPECT_EQ(made.has_value(), path != "/");
    if (!made) continue;
    Files whole = kFiles;
    std::erase_if(whole, [&](const auto& file) {
      return ("/" + file.first).starts_with(path + "/");
    });
    EXPECT_LT(whole.size(), kFiles.size());
    EXPECT_EQ(read_snapshot(again, snapshot_of(again, *made).header.root),
              whole);
    forget_and_prune(test, old);
    expect_sound(test);
  }
}

TEST(RepairSnapshots, TakesNoLostIndexForALoss) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().remove(index_name(id));
  }
  test.forget_cache();
  auto again = test.open();
  EXPECT_TRUE(repair(again).snapshots.empty());
}

TEST(RepairSnapshots, NamesASlotThatCannotBeRead) {
  TestRepository test;
  auto repository = test.open();
  const auto id = write_snapshot(repository, kFiles, at_hour(1));
  test.disk().flip_bit(snapshot_name(id), 100, 1);
  const auto repaired = repair(repository);
  ASSERT_EQ(repaired.damage.size(), 1U);
  EXPECT_NE(repaired.damage.front().find(id.hex()), std::string::npos);
}

TEST(RepairSnapshots, PlansWithoutWriting) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  lose_row(test, true, 0);
  auto again = test.open();
  const auto packs = list_packs(test.disk());

  const auto plan = repair(again, Carry::plan_only);

  ASSERT_EQ(plan.snapshots.size(), 1U);
  EXPECT_FALSE(plan.snapshots.front().made);
  EXPECT_EQ(plan.lost.paths.front().path, "/a");
  EXPECT_EQ(list_packs(test.disk()), packs);
  EXPECT_EQ(again.snapshots(at_hour(9)).snapshots.size(), 1U);
}

TEST(RepairSnapshots, IsForAnOwnerOnly) {
  TestRepository test;
  for (const auto role :
       {Role::restore, Role::list, Role::maintain, Role::write}) {
    auto repository = test.open_as(role);
    EXPECT_THROW((void)repair(repository), WrongKey);
  }
}

TEST(RepairSnapshots, LosesNothingWhicheverWriteThePowerCutHits) {
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; ++writes) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      TestRepository test;
      {
        auto repository = test.open();
        (void)write_snapshot(repository, kFiles, at_hour(1));
      }
      lose_row(test, true, 0);
      {
        auto repository = test.open_through(
            std::make_unique<PowerCut>(test.disk(), writes, falls));
        try {
          (void)repair(repository);
          finished = true;
        } catch (const IoError&) {
        }
      }
      test.let_processes_die();
      auto repository = test.open();
      const auto repaired = repair(repository);
      ASSERT_EQ(repaired.snapshots.size(), 1U);
      Files whole = kFiles;
      whole.erase("a");
      const auto made =
          snapshot_of(repository, repaired.snapshots.front().made.value());
      EXPECT_EQ(read_snapshot(repository, made.header.root), whole);
      EXPECT_EQ(repository.snapshots(at_hour(9)).snapshots.size(), 2U);
      forget_and_prune(test, repaired.snapshots.front().source);
      expect_sound(test);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cairn::repo
