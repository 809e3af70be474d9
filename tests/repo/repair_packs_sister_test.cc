// What is lost comes from a sister repository.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/repair_packs.h"
#include "tests/repo/damaged_repository.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Chained;
using testing_support::content_packs;
using testing_support::CutFalls;
using testing_support::expect_sound;
using testing_support::Files;
using testing_support::hurt_first_blob;
using testing_support::noise;
using testing_support::PowerCut;
using testing_support::prune_whole;
using testing_support::read_all_snapshots;
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

// A sister with the same states, written the same way.
struct Sisters {
  Sisters() : sister(Keyring::create_like(test.keyring())) {
    for (auto* const each : {&test, &sister}) {
      auto repository = each->open();
      ids.push_back(write_snapshot(repository, kFiles, at_hour(1)));
    }
  }

  TestRepository test;
  TestRepository sister;
  std::vector<SessionId> ids;
};

TEST(RepairPacksFromASister, TakesWhatIsLostFromIt) {
  Sisters both;
  for (const auto& pack : list_packs(both.test.disk())) {
    both.test.disk().remove(pack_name(pack.id));
  }
  auto repository = both.test.open();
  auto sister = both.sister.open();

  const auto repaired = repair(repository, &sister);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_GT(repaired.blobs_fetched, 0U);
  expect_sound(both.test);
  EXPECT_EQ(read_all_snapshots(repository),
            (std::map<SessionId, Files>{{both.ids[0], kFiles}}));
}

TEST(RepairPacksFromASister, NamesWhatTheSisterHasNotEither) {
  Sisters both;
  for (auto* const each : {&both.test, &both.sister}) {
    hurt_first_blob(*each, content_packs(*each).front());
  }
  auto repository = both.test.open();
  auto sister = both.sister.open();

  const auto repaired = repair(repository, &sister);

  EXPECT_EQ(repaired.blobs_fetched, 0U);
  ASSERT_EQ(repaired.lost.paths.size(), 1U);
  EXPECT_EQ(repaired.lost.paths.front(), (LostPath{both.ids[0], "/a"}));
}

TEST(RepairPacksFromASister, BelievesNoFalseCopy) {
  Sisters both;
  const auto pack = content_packs(both.test).front();
  const auto row =
      read_pack_directory(both.test.disk(), both.test.keyring(), pack.id)
          .pack.directory.rows.front();
  hurt_first_blob(both.test, pack);
  auto sister = both.sister.open();
  for (const auto& theirs : content_packs(both.sister)) {
    both.sister.disk().remove(pack_name(theirs.id));
  }
  (void)store_false_copy(sister, row.kind, row.id, noise(9, row.plain_size));
  auto repository = both.test.open();

  const auto repaired = repair(repository, &sister);

  EXPECT_EQ(repaired.blobs_fetched, 0U);
  EXPECT_EQ(repaired.blobs_lost, 1U);
}

TEST(RepairPacksFromASister, HealsChainsByTheirBases) {
  TestRepository test;
  TestRepository other(Keyring::create_like(test.keyring()));
  Chained chained(test);
  Chained theirs(other);
  hurt_first_blob(test, chained.packs[0]);
  auto repository = test.open();
  auto sister = other.open();

  const auto repaired = repair(repository, &sister);

  EXPECT_TRUE(repaired.is_whole());
  EXPECT_EQ(repaired.blobs_fetched, 1U);
  EXPECT_EQ(repaired.packs.size(), 1U);
  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(repository), chained.states);
}

TEST(RepairPacksFromASister, TakesNothingFromAStranger) {
  TestRepository test;
  TestRepository stranger;
  auto repository = test.open();
  auto other = stranger.open();
  auto itself = test.open();
  EXPECT_THROW((void)repair(repository, &other), std::invalid_argument);
  EXPECT_THROW((void)repair(repository, &itself), std::invalid_argument);
}

// What was lost is in a new pack before an index object names that: a repair
// that comes after a kill in between finds it there, and would leave it so.
TEST(RepairPacksFromASister, LeavesNoPackWithoutANameWhicheverWriteIsTheLast) {
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; ++writes) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      Sisters both;
      const auto hurt = content_packs(both.test).front();
      hurt_first_blob(both.test, hurt);
      auto sister = both.sister.open();
      {
        auto repository = both.test.open_through(
            std::make_unique<PowerCut>(both.test.disk(), writes, falls));
        try {
          (void)repair(repository, &sister);
          finished = true;
        } catch (const IoError&) {
        }
      }
      both.test.let_processes_die();

      // One pack alone, as somebody might who has seen what is damaged.
      for (const bool is_chosen : {true, false}) {
        auto repository = both.test.open();
        PackRepairOptions again;
        again.from = &sister;
        again.now = at_hour(8);
        if (is_chosen) again.packs = {hurt.id};
        const auto repaired = repair_packs(repository, again, {}, nullptr);
        EXPECT_TRUE(repaired.is_whole());
        expect_sound(both.test);
      }
      auto repository = both.test.open();
      prune_whole(repository);
      EXPECT_FALSE(both.test.disk().size(pack_name(hurt.id)));
      expect_sound(both.test);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cairn::repo
