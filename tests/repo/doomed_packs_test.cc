// What a prune has doomed and not removed yet is there, whole, and about to go:
// nothing may rest on it, and nothing of it may be lost.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace cairn::repo
