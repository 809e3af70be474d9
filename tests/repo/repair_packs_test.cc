#include "repo/repair_packs.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "crypto/digest.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/repair.h"
#include "repo/session.h"
#include "tests/repo/damaged_repository.h"
#include "tests/support/observed_storage.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Chained;
using testing_support::content_packs;
using testing_support::CutFalls;
using testing_support::damage_in;
using testing_support::expect_sound;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::hurt_directory;
using testing_support::hurt_first_blob;
using testing_support::noise;
using testing_support::ObservedStorage;
using testing_support::PowerCut;
using testing_support::prune_whole;
using testing_support::read_all_snapshots;
using testing_support::Reuse;
using testing_support::store_false_copy;
using testing_support::TestRepository;
using testing_support::write_snapshot;

const Files kFiles{{"a", noise(1, 20'000)}, {"b", noise(2, 9'000)}};

PackRepair repair(Repository& repository, Repository* from = nullptr) {
  PackRepairOptions options;
  options.from = from;
  options.now = at_hour(8);
  return repair_packs(repository, options, {}, nullptr);
}

TEST(RepairPacks, LeavesASoundRepositoryAsItIs) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  const auto packs = list_packs(test.disk());
  const auto indexes = list_indexes(test.disk());

  const auto repaired = repair(repository);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_EQ(repaired.packs_read, packs.size());
  EXPECT_TRUE(repaired.packs.empty());
  EXPECT_EQ(list_packs(test.disk()), packs);
  EXPECT_EQ(list_indexes(test.disk()), indexes);
  EXPECT_TRUE(read_sessions(test.disk(), test.keyring()).empty());
}

TEST(RepairPacks, NamesWhatIsLostAndTheNextStateHealsIt) {
  TestRepository test;
  auto repository = test.open();
  const auto first = write_snapshot(repository, kFiles, at_hour(1));
  const auto pack = content_packs(test).front();
  hurt_first_blob(test, pack);

  const auto repaired = repair(repository);

  ASSERT_EQ(repaired.packs.size(), 1U);
  EXPECT_EQ(repaired.packs.front().id, pack.id);
  EXPECT_EQ(repaired.packs.front().good_blobs + 1,
            repaired.packs.front().blobs);
  EXPECT_EQ(repaired.blobs_moved, repaired.packs.front().good_blobs);
  EXPECT_EQ(repaired.blobs_lost, 1U);
  ASSERT_EQ(repaired.lost.paths.size(), 1U);
  EXPECT_EQ(repaired.lost.paths.front(), (LostPath{first, "/a"}));
  EXPECT_TRUE(test.disk().size(pack_name(pack.id)));
  EXPECT_FALSE(damage_in(repository).empty());

  const auto second = write_snapshot(repository, kFiles, at_hour(2));

  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(repository),
            (std::map<SessionId, Files>{{first, kFiles}, {second, kFiles}}));
  prune_whole(repository);
  EXPECT_FALSE(test.disk().size(pack_name(pack.id)));
  expect_sound(test);
}

// What was moved is in packs and the index before it is forgotten here.
TEST(RepairPacks, MovesMoreBlobsThanItRemembers) {
  TestRepository test;
  auto repository = test.open();
  const Files many{{"a", noise(3, 20'000 * 16)}};
  FilesOptions options;
  options.chunk_bytes = 16;
  const auto only = write_snapshot(repository, many, at_hour(1), options);
  for (const auto& pack : list_packs(test.disk())) hurt_directory(test, pack);

  const auto repaired = repair(repository);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_GT(repaired.blobs_moved, 20'000U);
  expect_sound(test);
  test.forget_cache();
  auto elsewhere = test.open();
  EXPECT_EQ(read_all_snapshots(elsewhere),
            (std::map<SessionId, Files>{{only, many}}));
}

TEST(RepairPacks, TakesThePiecesOfAPackWithoutADirectoryByTheIndex) {
  TestRepository test;
  auto repository = test.open();
  const auto only = write_snapshot(repository, kFiles, at_hour(1));
  const auto before = list_packs(test.disk());
  for (const auto& pack : before) hurt_directory(test, pack);
  EXPECT_THROW(prune_whole(repository), CorruptionError);

  const auto repaired = repair(repository);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_EQ(repaired.packs.size(), before.size());
  expect_sound(test);
  test.forget_cache();
  auto elsewhere = test.open();
  EXPECT_EQ(read_all_snapshots(elsewhere),
            (std::map<SessionId, Files>{{only, kFiles}}));
  prune_whole(elsewhere);
  for (const auto& pack : before) {
    EXPECT_FALSE(test.disk().size(pack_name(pack.id)));
  }
  expect_sound(test);
}

TEST(RepairPacks, KeepsADamagedPackWhileASnapshotNeedsWhatIsLost) {
  TestRepository test;
  auto repository = test.open();
  const auto first = write_snapshot(repository, kFiles, at_hour(1));
  const auto pack = content_packs(test).front();
  hurt_first_blob(test, pack);
  (void)repair(repository);

  prune_whole(repository);
  EXPECT_TRUE(test.disk().size(pack_name(pack.id)));
  EXPECT_EQ(repair(repository).lost.paths.size(), 1U);

  (void)forget_snapshot(repository, first, "lost", at_hour(3));
  prune_whole(repository);
  EXPECT_FALSE(test.disk().size(pack_name(pack.id)));
  expect_sound(test);
}

TEST(RepairPacks, StopsPruneWhileWhatAnUnreadablePackHeldIsMissed) {
  TestRepository test;
  auto repository = test.open();
  const auto first = write_snapshot(repository, kFiles, at_hour(1));
  const auto pack = content_packs(test).front();
  hurt_first_blob(test, pack);
  hurt_directory(test, pack);
  (void)repair(repository);

  EXPECT_THROW(prune_whole(repository), CorruptionError);
  EXPECT_TRUE(test.disk().size(pack_name(pack.id)));

  (void)forget_snapshot(repository, first, "lost", at_hour(3));
  prune_whole(repository);
  EXPECT_FALSE(test.disk().size(pack_name(pack.id)));
  expect_sound(test);
}

TEST(RepairPacks, TakesNothingFromAPackInAnothersPlace) {
  TestRepository test;
  auto repository = test.open();
  const auto first = write_snapshot(repository, kFiles, at_hour(1));
  const Files more{{"c", noise(3, 30'000)}};
  const auto second = write_snapshot(repository, more, at_hour(2));
  const auto packs = content_packs(test);
  ASSERT_EQ(packs.size(), 2U);
  const auto bytes_of = [&](const StoredPack& pack) {
    return get_whole(test.disk(), pack_name(pack.id), kMaxPackBytes);
  };
  const auto one = bytes_of(packs[0]);
  const auto other = bytes_of(packs[1]);
  test.disk().replace(pack_name(packs[0].id), other);
  test.disk().replace(pack_name(packs[1].id), one);
  test.forget_cache();
  auto again = test.open();

  // All is there, if not where its name says.
  EXPECT_TRUE(repair(again).is_whole());

  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(again),
            (std::map<SessionId, Files>{{first, kFiles}, {second, more}}));
}

TEST(RepairPacks, TakesOutWhatLeansOnWhatIsLost) {
  TestRepository test;
  Chained chained(test);
  ASSERT_EQ(chained.packs.size(), 4U);
  hurt_first_blob(test, chained.packs[0]);
  auto repository = test.open();

  const auto repaired = repair(repository);

  // The first chunk of each state is a link of the chain.
  EXPECT_EQ(repaired.packs.size(), 4U);
  EXPECT_EQ(repaired.blobs_lost, 4U);
  EXPECT_EQ(repaired.lost.total, 4U);
  for (const auto& [id, files] : chained.states) {
    (void)write_snapshot(repository, files, at_hour(5));
  }
  expect_sound(test);
  for (const auto& [id, files] : chained.states) {
    EXPECT_EQ(read_all_snapshots(repository).at(id), files);
  }
  prune_whole(repository);
  for (const auto& pack : chained.packs) {
    EXPECT_FALSE(test.disk().size(pack_name(pack.id)));
  }
  expect_sound(test);
}

TEST(RepairPacks, MovesDifferencesWithTheirBases) {
  TestRepository test;
  Chained chained(test);
  for (const auto& pack : chained.packs) hurt_directory(test, pack);
  auto repository = test.open();

  const auto repaired = repair(repository);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_EQ(repaired.blobs_moved, 12U);
  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(repository), chained.states);
  // Moved, and not stored whole.
  EXPECT_LT(repaired.bytes_stored, 3 * kDirectoryStep + 20'000);
}

TEST(RepairPacks, TakesOutAFalseCopyAndKeepsWhatIsTrue) {
  TestRepository test;
  auto repository = test.open();
  const auto only = write_snapshot(repository, kFiles, at_hour(1));
  const auto row = read_pack_directory(test.disk(), test.keyring(),
                                       content_packs(test).front().id)
                       .pack.directory.rows.front();
  const auto lie =
      store_false_copy(repository, row.kind, row.id, noise(9, row.plain_size));
  repository.index().refresh(repository.storage(), repository.keyring());

  const auto repaired = repair(repository);

  ASSERT_EQ(repaired.packs.size(), 1U);
  EXPECT_EQ(repaired.packs.front().id, lie.id);
  EXPECT_TRUE(repaired.is_whole());
  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(repository),
            (std::map<SessionId, Files>{{only, kFiles}}));
}

TEST(RepairPacks, MovesNothingThatIsElsewhereToo) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  const auto pack = content_packs(test).front();
  FilesOptions anew;
  anew.writer.reuse = Reuse::nothing;
  (void)write_snapshot(repository, kFiles, at_hour(2), anew);
  hurt_first_blob(test, pack);

  const auto repaired = repair(repository);

  EXPECT_EQ(repaired.packs.size(), 1U);
  EXPECT_EQ(repaired.blobs_moved, 0U);
  EXPECT_TRUE(repaired.is_whole());
  expect_sound(test);
}

// What an index object said of a damaged pack was taken back: who had read that
// before must not say it again. Found by freezing a prune there.
TEST(RepairPacks, IsNotUndoneByAPruneOrARepairOfTheIndexThatBeganBefore) {
  for (const bool is_prune : {true, false}) {
    SCOPED_TRACE(is_prune ? "prune" : "repair index");
    TestRepository test;
    auto repository = test.open();
    const auto first = write_snapshot(repository, kFiles, at_hour(1));
    const auto hurt = content_packs(test).front();
    const auto going =
        write_snapshot(repository, Files{{"z", noise(77, 9'000)}}, at_hour(2));
    hurt_first_blob(test, hurt);
    (void)forget_snapshot(repository, going, "test", at_hour(3));
    ObservedStorage observed(test.disk());
    bool is_repaired = false;
    observed.before_write = [&](std::string_view name) {
      if (!name.starts_with("index/") || is_repaired) return;
      is_repaired = true;
      auto other = test.open();
      (void)repair(other);
    };
    auto slow = test.open_elsewhere(observed);

    if (is_prune) {
      prune_whole(slow);
    } else {
      (void)repair_index(slow, {}, nullptr);
    }

    ASSERT_TRUE(is_repaired);
    // Named it may be, but for nobody.
    for (const auto& id : list_indexes(test.disk())) {
      const auto object = read_index(test.disk(), test.keyring(), id);
      if (object.assurance == Assurance{}) continue;
      for (const auto& pack : object.packs) EXPECT_NE(pack.id, hurt.id);
    }
    auto again = test.open();
    const auto healed = write_snapshot(again, kFiles, at_hour(4));
    const auto states = read_all_snapshots(again);
    EXPECT_EQ(states.at(first), kFiles);
    EXPECT_EQ(states.at(healed), kFiles);
    prune_whole(again);
    expect_sound(test);
  }
}

// Of two copies a prune chose one to stay, and a repair finds just that one
// damaged before the other is condemned. It needs not write anything then, so
// that neither a pack nor a snapshot tells of it.
// Or once it is condemned, and before it is doomed.
TEST(RepairPacks, LeavesACopyThatAPruneHadChosenToGo) {
  for (const std::size_t which : {0U, 1U}) {
    for (const int at : {1, 2}) {
      SCOPED_TRACE(testing::Message() << which << ", at epoch " << at);
      TestRepository test;
      auto repository = test.open();
      FilesOptions anew;
      anew.writer.reuse = Reuse::nothing;
      const auto first = write_snapshot(repository, kFiles, at_hour(1));
      const auto second = write_snapshot(repository, kFiles, at_hour(2), anew);
      const auto packs = content_packs(test);
      ASSERT_EQ(packs.size(), 2U);
      hurt_first_blob(test, packs[which]);
      ObservedStorage observed(test.disk());
      int epochs = 0;
      observed.before_write = [&](std::string_view name) {
        if (!name.starts_with("epochs/") || ++epochs != at) return;
        auto other = test.open();
        EXPECT_TRUE(repair(other).is_whole());
      };
      auto slow = test.open_elsewhere(observed);

      prune_whole(slow);

      ASSERT_GE(epochs, at);
      auto again = test.open();
      EXPECT_EQ(
          read_all_snapshots(again),
          (std::map<SessionId, Files>{{first, kFiles}, {second, kFiles}}));
      prune_whole(again);
      EXPECT_FALSE(test.disk().size(pack_name(packs[which].id)));
      expect_sound(test);
    }
  }
}

TEST(RepairPacks, PlansWithoutWriting) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, kFiles, at_hour(1));
  hurt_first_blob(test, content_packs(test).front());
  std::map<std::string, std::uint64_t> before;
  const auto list = [&] {
    std::map<std::string, std::uint64_t> names;
    for (const auto* const folder : {"packs", "index", "sessions"}) {
      test.disk().list(folder, [&](const ListedObject& object) {
        names[object.name] = object.size;
      });
    }
    return names;
  };
  before = list();

  PackRepairOptions only_plan;
  only_plan.now = at_hour(8);
  only_plan.carry = Carry::plan_only;
  const auto plan = repair_packs(repository, only_plan, {}, nullptr);

  EXPECT_EQ(list(), before);
  const auto done = repair(repository);
  EXPECT_EQ(plan.blobs_moved, done.blobs_moved);
  EXPECT_EQ(plan.lost.paths, done.lost.paths);
}

TEST(RepairPacks, NamesWhatNoIndexObjectNamesAndStoresNothingOfItAgain) {
  TestRepository test;
  auto repository = test.open();
  const auto only = write_snapshot(repository, kFiles, at_hour(1));
  const auto packs = list_packs(test.disk());
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().remove(index_name(id));
  }
  test.forget_cache();
  auto again = test.open();

  const auto repaired = repair(again);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_EQ(repaired.packs_named, packs.size());
  EXPECT_EQ(list_packs(test.disk()), packs);
  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(again),
            (std::map<SessionId, Files>{{only, kFiles}}));
  EXPECT_EQ(repair(again).packs_named, 0U);
}

// As what a newer program wrote, under the name that its bytes have then.
PackId make_newer(TestRepository& test, const StoredPack& pack) {
  constexpr std::size_t kVersionAt = 9;
  auto bytes = get_whole(test.disk(), pack_name(pack.id), kMaxPackBytes);
  bytes[kVersionAt] = std::byte{77};
  const PackId newer{crypto::sha256(bytes)};
  test.disk().remove(pack_name(pack.id));
  EXPECT_EQ(test.disk().create(pack_name(newer), bytes), Created::created);
  return newer;
}

TEST(RepairPacks, DoesNothingWhereANewerProgramWroteAPack) {
  TestRepository test;
  Chained chained(test);
  // The other states lean on what is in there.
  const auto newer = make_newer(test, chained.packs[0]);
  hurt_first_blob(test, chained.packs[3]);
  const auto packs = list_packs(test.disk());
  const auto indexes = list_indexes(test.disk());
  test.forget_cache();
  auto repository = test.open();

  try {
    (void)repair(repository);
    FAIL() << "it went on";
  } catch (const UnsupportedFormat& e) {
    EXPECT_NE(std::string(e.what()).find(pack_name(newer)), std::string::npos);
  }

  EXPECT_EQ(list_packs(test.disk()), packs);
  EXPECT_EQ(list_indexes(test.disk()), indexes);
  EXPECT_TRUE(read_sessions(test.disk(), test.keyring()).empty());
}

TEST(RepairPacks, TakesNoFlippedBitForANewerProgram) {
  for (const std::uint64_t at : {9U, 15U}) {  // version, generation
    SCOPED_TRACE(at);
    TestRepository test;
    auto repository = test.open();
    const auto only = write_snapshot(repository, kFiles, at_hour(1));
    const auto pack = content_packs(test).front();
    test.disk().flip_bit(pack_name(pack.id), at, 1);
    EXPECT_FALSE(damage_in(repository).empty());

    EXPECT_TRUE(repair(repository).is_whole());

    expect_sound(test);
    EXPECT_EQ(read_all_snapshots(repository),
              (std::map<SessionId, Files>{{only, kFiles}}));
  }
}

TEST(RepairPacks, IsForAnOwnerOnly) {
  TestRepository test;
  for (const auto role :
       {Role::restore, Role::list, Role::maintain, Role::write}) {
    auto repository = test.open_as(role);
    EXPECT_THROW((void)repair(repository), WrongKey);
  }
}

TEST(RepairPacks, LosesNothingWhicheverWriteThePowerCutHits) {
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; ++writes) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      TestRepository test;
      Chained chained(test);
      for (const auto& pack : chained.packs) hurt_directory(test, pack);
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
      test.forget_cache();

      auto repository = test.open();
      EXPECT_EQ(read_all_snapshots(repository), chained.states);
      EXPECT_TRUE(repair(repository).is_whole());
      expect_sound(test);
      prune_whole(repository);
      expect_sound(test);
      EXPECT_EQ(read_all_snapshots(repository), chained.states);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cairn::repo
