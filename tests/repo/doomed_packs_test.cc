// What a prune has doomed and not removed yet is there, whole, and about to go:
// nothing may rest on it, and nothing of it may be lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "repo/check.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "repo/repair_packs.h"
#include "repo/repair_snapshots.h"
#include "repo/snapshot.h"
#include "tests/repo/damaged_repository.h"
#include "tests/support/observed_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::content_packs;
using testing_support::expect_sound;
using testing_support::Files;
using testing_support::hurt_first_blob;
using testing_support::ids_of;
using testing_support::noise;
using testing_support::ObservedStorage;
using testing_support::read_all_snapshots;
using testing_support::TestRepository;
using testing_support::write_snapshot;

const Files kBoth{{"a", noise(1, 20'000)}, {"b", noise(2, 9'000)}};
const Files kOne{{"a", noise(1, 20'000)}};

enum class Leaves { to_trash, killed_after_doom };

PruneOutcome prune_at(Repository& repository, std::chrono::seconds trash) {
  PruneOptions options;
  options.max_unused = 0;
  options.trash = trash;
  return prune(repository, options, at_hour(10), {}, {}, nullptr);
}

struct Killed {};

// A prune moved `a` into another pack, and the one where it had been is doomed.
struct Moved {
  explicit Moved(TestRepository& made, Leaves leaves = Leaves::to_trash)
      : test(made) {
    auto repository = test.open();
    const auto going = write_snapshot(repository, kBoth, at_hour(1));
    id = write_snapshot(repository, kOne, at_hour(2));
    (void)forget_snapshot(repository, going, "test", at_hour(3));
    old = content_packs(test).front();
    if (leaves == Leaves::to_trash) {
      (void)prune_at(repository, std::chrono::hours(24 * 30));
    } else {
      ObservedStorage observed(test.disk());
      int epochs = 0;
      observed.before_write = [&](std::string_view name) {
        if (epochs == 2) throw Killed();
        if (name.starts_with("epochs/")) ++epochs;
      };
      auto killed = test.open_elsewhere(observed);
      EXPECT_THROW((void)prune_at(killed, std::chrono::seconds(0)), Killed);
    }
    for (const auto& pack : content_packs(test)) {
      if (pack.id != old.id) now = pack;
    }
    EXPECT_TRUE(test.disk().size(pack_name(old.id)));
    EXPECT_TRUE(test.disk().size(pack_name(now.id)));
    const auto doomed = doomed_packs(newest());
    EXPECT_TRUE(doomed.contains(old.id));
    EXPECT_FALSE(doomed.contains(now.id));
  }

  [[nodiscard]] Epoch newest() const {
    return read_epochs(test.disk(), test.keyring()).newest;
  }

  [[nodiscard]] std::map<SessionId, Files> states() const {
    return {{id, kOne}};
  }

  TestRepository& test;
  SessionId id{};  // of what stays
  StoredPack old;  // doomed
  StoredPack now;  // into which `a` was moved
};

PackRepair repair(Repository& repository, Repository* from = nullptr) {
  PackRepairOptions options;
  options.from = from;
  options.now = at_hour(8);
  return repair_packs(repository, options, {}, nullptr);
}

TEST(RepairPacks, TakesOutOfTheTrashWhatNothingElseHas) {
  for (const auto leaves : {Leaves::to_trash, Leaves::killed_after_doom}) {
    for (const bool has_sister : {false, true}) {
      for (const bool is_gone : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << (leaves == Leaves::to_trash ? "trash" : "killed")
                     << (has_sister ? ", a sister" : ", no sister")
                     << (is_gone ? ", gone" : ", hurt"));
        TestRepository test;
        const Moved moved(test, leaves);
        TestRepository there(Keyring::create_like(test.keyring()));
        auto sister = there.open();
        (void)write_snapshot(sister, kOne, at_hour(2));
        if (is_gone) {
          test.disk().remove(pack_name(moved.now.id));
        } else {
          hurt_first_blob(test, moved.now);
        }
        auto repository = test.open();

        const auto repaired =
            repair(repository, has_sister ? &sister : nullptr);

        EXPECT_TRUE(repaired.is_whole());
        EXPECT_EQ(repaired.blobs_fetched, 0U);
        (void)prune_at(repository, std::chrono::seconds(0));
        EXPECT_FALSE(test.disk().size(pack_name(moved.old.id)));
        expect_sound(test);
        test.forget_cache();
        auto again = test.open();
        EXPECT_EQ(read_all_snapshots(again), moved.states());
      }
    }
  }
}

// Of a blob that lies in no pack that stays, a base alone is no cover either.
TEST(RepairPacks, TakesBasesOutOfTheTrash) {
  TestRepository test;
  testing_support::ChunksByPath bases;
  testing_support::FilesOptions chained;
  chained.bases = &bases;
  auto repository = test.open();
  Files first{{"db", noise(1, 4096)}, {"z", noise(5, 12'000)}};
  const auto going = write_snapshot(repository, first, at_hour(1), chained);
  const auto old = content_packs(test).front();
  Files second{{"db", first["db"]}};
  second["db"][7] ^= std::byte{1};
  const auto staying = write_snapshot(repository, second, at_hour(2), chained);
  (void)forget_snapshot(repository, going, "test", at_hour(3));
  const auto before = ids_of(content_packs(test));
  (void)prune_at(repository, std::chrono::hours(24 * 30));
  ASSERT_TRUE(doomed_packs(read_epochs(test.disk(), test.keyring()).newest)
                  .contains(old.id));
  for (const auto& pack : content_packs(test)) {
    if (!before.contains(pack.id)) hurt_first_blob(test, pack);
  }
  auto again = test.open();

  EXPECT_TRUE(repair(again).is_whole());

  (void)prune_at(again, std::chrono::seconds(0));
  EXPECT_FALSE(test.disk().size(pack_name(old.id)));
  expect_sound(test);
  EXPECT_EQ(read_all_snapshots(again),
            (std::map<SessionId, Files>{{staying, second}}));
}

TEST(Prune, KeepsTheTrashWhileASnapshotNeedsIt) {
  for (const auto leaves : {Leaves::to_trash, Leaves::killed_after_doom}) {
    SCOPED_TRACE(leaves == Leaves::to_trash ? "trash" : "killed");
    TestRepository test;
    const Moved moved(test, leaves);
    test.disk().remove(pack_name(moved.now.id));
    auto repository = test.open();

    EXPECT_THROW((void)prune_at(repository, std::chrono::seconds(0)),
                 CorruptionError);

    ASSERT_TRUE(test.disk().size(pack_name(moved.old.id)));
    EXPECT_TRUE(repair(repository).is_whole());
    (void)prune_at(repository, std::chrono::seconds(0));
    EXPECT_FALSE(test.disk().size(pack_name(moved.old.id)));
    expect_sound(test);
    EXPECT_EQ(read_all_snapshots(repository), moved.states());
  }
}

// What an earlier prune doomed goes in the same run as what this one finds, and
// the plan holds though the index was merged in between.
TEST(Prune, EmptiesTheTrashAndGoesOn) {
  for (const auto leaves : {Leaves::to_trash, Leaves::killed_after_doom}) {
    SCOPED_TRACE(leaves == Leaves::to_trash ? "trash" : "killed");
    TestRepository test;
    const Moved moved(test, leaves);
    auto repository = test.open();
    const Files other{{"c", noise(3, 9'000)}};
    const auto going = write_snapshot(repository, other, at_hour(4));
    (void)forget_snapshot(repository, going, "test", at_hour(5));

    const auto outcome = prune_at(repository, std::chrono::seconds(0));

    EXPECT_FALSE(test.disk().size(pack_name(moved.old.id)));
    EXPECT_EQ(ids_of(content_packs(test)), std::set<PackId>{moved.now.id});
    EXPECT_EQ(outcome.trash.packs, 0U);
    expect_sound(test);
    EXPECT_EQ(read_all_snapshots(repository), moved.states());
  }
}

std::vector<std::string> damage_codes(Repository& repository,
                                      CheckLevel level) {
  std::vector<std::string> codes;
  const auto report =
      check(repository, {.level = level, .now = at_hour(9)}, {}, nullptr);
  for (const auto& finding : report.findings) {
    if (finding.severity != Severity::damage) continue;
    codes.emplace_back(finding.code);
    EXPECT_NE(finding.message.find("repair packs"), std::string::npos)
        << finding.message;
  }
  return codes;
}

bool is_named(TestRepository& test, const PackId& id) {
  for (const auto& index : list_indexes(test.disk())) {
    for (const auto& pack :
         read_index(test.disk(), test.keyring(), index).packs) {
      if (pack.id == id) return true;
    }
  }
  return false;
}

TEST(Check, TellsOfWhatLiesInTheTrashAlone) {
  for (const auto leaves : {Leaves::to_trash, Leaves::killed_after_doom}) {
    SCOPED_TRACE(leaves == Leaves::to_trash ? "trash" : "killed");
    TestRepository test;
    const Moved moved(test, leaves);
    expect_sound(test);
    const bool was_named = is_named(test, moved.old.id);
    test.disk().remove(pack_name(moved.now.id));
    auto repository = test.open();

    for (const auto level : {CheckLevel::structure, CheckLevel::data}) {
      const auto codes = damage_codes(repository, level);
      EXPECT_EQ(std::ranges::count(codes, "doomed-pack"), 1);
    }
    EXPECT_EQ(is_named(test, moved.old.id), was_named);

    (void)repair_index(repository, {}, nullptr);
    EXPECT_FALSE(is_named(test, moved.old.id));
    EXPECT_EQ(damage_codes(repository, CheckLevel::data),
              std::vector<std::string>{"doomed-pack"});
    EXPECT_FALSE(is_named(test, moved.old.id));

    EXPECT_TRUE(repair(repository).is_whole());
    expect_sound(test);
  }
}

TEST(Check, TakesNothingInTheTrashForAnotherCopy) {
  TestRepository test;
  const Moved moved(test);
  hurt_first_blob(test, moved.now);
  auto repository = test.open();
  CheckReport report = check(
      repository, {.level = CheckLevel::data, .now = at_hour(9)}, {}, nullptr);

  std::erase_if(report.findings, [](const Finding& finding) {
    return finding.code != "damaged-blob";
  });
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_NE(report.findings.front().message.find("about to remove"),
            std::string::npos);
  EXPECT_EQ(report.findings.front().paths, std::vector<std::string>{"/a"});
}

TEST(RepairSnapshots, MakesNoneWithoutWhatLiesInTheTrash) {
  TestRepository test;
  const Moved moved(test);
  test.disk().remove(pack_name(moved.now.id));
  auto repository = test.open();
  const SnapshotRepairOptions options{.clock = [] { return at_hour(8); }};

  try {
    (void)repair_snapshots(repository, options, {}, nullptr);
    FAIL() << "it passed for a copy";
  } catch (const CorruptionError& e) {
    EXPECT_NE(std::string(e.what()).find("cairn repair packs"),
              std::string::npos);
  }
  EXPECT_EQ(list_slots(test.disk()).size(), 1U);

  EXPECT_TRUE(repair(repository).is_whole());
  EXPECT_EQ(read_all_snapshots(repository), moved.states());
  EXPECT_TRUE(
      repair_snapshots(repository, options, {}, nullptr).snapshots.empty());
}

}  // namespace
}  // namespace cairn::repo
