// What must hold of prune and forget wherever they are cut short, and whatever
// came before.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "repo/check.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::ChunksByPath;
using testing_support::CutFalls;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::for_each_seed;
using testing_support::MemoryStorage;
using testing_support::PowerCut;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::Reuse;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_snapshot;

using States = std::map<SessionId, Files>;

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

Bytes changed(Bytes bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] ^= std::byte{1};
  return bytes;
}

void expect_no_damage(Repository& repository,
                      CheckLevel level = CheckLevel::data) {
  const auto report =
      check(repository, {.level = level, .now = at_hour(9999)}, {}, nullptr);
  for (const auto& finding : report.findings) {
    // Rows without bases are no damage while nobody needs them, but prune
    // promises more: there are none that an index object names.
    const bool is_fault = finding.severity >= Severity::unsupported ||
                          finding.code == "missing-base";
    EXPECT_FALSE(is_fault) << finding.code << " " << finding.object << ": "
                           << finding.message;
  }
}

// Packs dead whole, of which each leans on the one before; packs dead in part;
// a chain whose middle is forgotten; a session that died with packs but no
// index.
struct Scene {
  Scene() {
    auto repository = test.open();
    ChunksByPath bases;
    FilesOptions chained;
    chained.bases = &bases;
    chained.writer.pack_bytes = 60'000;
    Files files{{"db", noise(1, 30'000)}, {"etc/conf", noise(2, 700)}};
    for (unsigned i = 0; i < 5; ++i) {
      files["db"] = changed(files["db"], 10 + i);
      files["log"] = noise(20 + i, 6'000);
      const auto id = write_snapshot(repository, files, at_hour(i), chained);
      if (i == 1 || i == 4) {
        kept[id] = files;
      } else {
        forgotten.push_back(id);
      }
    }
    ChunksByPath others;
    chained.bases = &others;
    Files other{{"other", noise(3, 8'000)}};
    for (unsigned i = 0; i < 4; ++i) {
      forgotten.push_back(
          write_snapshot(repository, other, at_hour(10 + i), chained));
      other["other"] = changed(other["other"], 30 + i);
    }
    {
      StateWriter writer(repository);
      testing_support::write_files(writer, {{"lost", noise(40, 9'000)}});
      writer.publish_packs();
    }
    test.let_processes_die();
    for (const auto& id : forgotten) {
      (void)forget_snapshot(repository, id, "test", at_hour(500));
    }
  }

  TestRepository test;
  States kept;
  std::vector<SessionId> forgotten;
};

constexpr PruneOptions kNothingWasted{.max_unused = 0, .budget = {}};

TEST(Prune, LosesNothingWhicheverWriteThePowerCutHits) {
  Scene scene;
  auto& test = scene.test;
  const MemoryStorage before = test.disk();
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; ++writes) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      test.disk() = before;
      {
        auto repository = test.open_through(
            std::make_unique<PowerCut>(test.disk(), writes, falls));
        try {
          (void)prune(repository, kNothingWasted, at_hour(1000), {}, {},
                      nullptr);
          finished = true;
        } catch (const IoError&) {
        }
      }
      test.let_processes_die();

      {
        auto repository = test.open();
        expect_no_damage(repository);
        EXPECT_EQ(read_all_snapshots(repository), scene.kept);
      }
      {
        auto repository = test.open();
        (void)prune(repository, kNothingWasted, at_hour(1001), {}, {}, nullptr);
      }
      auto repository = test.open();
      expect_no_damage(repository);
      EXPECT_EQ(read_all_snapshots(repository), scene.kept);
      const auto left =
          plan_prune(repository, kNothingWasted, at_hour(1002), {}, nullptr);
      EXPECT_EQ(left.removed.packs + left.repacked.packs, 0U);
      if (HasFailure()) return;
    }
  }
}

// As above, but the next to come is a backup that takes what it finds.
TEST(Prune, LeavesNothingThatABackupMustNotReuseWhicheverWriteThePowerCutHits) {
  Scene scene;
  auto& test = scene.test;
  const MemoryStorage before = test.disk();
  bool finished = false;
  for (std::size_t writes = 0; !finished; ++writes) {
    SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
    test.disk() = before;
    {
      auto repository =
          test.open_through(std::make_unique<PowerCut>(test.disk(), writes));
      try {
        (void)prune(repository, kNothingWasted, at_hour(1000), {}, {}, nullptr);
        finished = true;
      } catch (const IoError&) {
      }
    }
    test.let_processes_die();

    // All contents there ever were.
    auto repository = test.open();
    Files files{{"lost", noise(40, 9'000)}};
    Bytes db = noise(1, 30'000);
    for (unsigned i = 0; i < 5; ++i) {
      db = changed(db, 10 + i);
      files["db" + std::to_string(i)] = db;
      files["log" + std::to_string(i)] = noise(20 + i, 6'000);
    }
    States expected = scene.kept;
    expected[write_snapshot(repository, files, at_hour(2000))] = files;

    auto later = test.open();
    expect_no_damage(later);
    EXPECT_EQ(read_all_snapshots(later), expected);
    if (HasFailure()) return;
  }
}

// The index is made anew from whatever packs are left: then they are known
// again. Each pack has something that moves, and something dead that leans on
// the pack before.
TEST(Prune, LeavesNoPackWithoutItsBasesWhicheverWriteThePowerCutHits) {
  TestRepository test;
  States kept;
  {
    auto repository = test.open();
    ChunksByPath bases;
    FilesOptions chained;
    chained.bases = &bases;
    Files all;
    Bytes db = noise(1, 8'000);
    std::vector<SessionId> dead;
    for (unsigned i = 0; i < 5; ++i) {
      const std::string part = "part" + std::to_string(i);
      all[part] = noise(10 + i, 500);
      dead.push_back(write_snapshot(repository, {{"db", db}, {part, all[part]}},
                                    at_hour(i), chained));
      db = changed(db, 20 + i);
    }
    kept[write_snapshot(repository, all, at_hour(10))] = all;
    for (const auto& id : dead) {
      (void)forget_snapshot(repository, id, "test", at_hour(500));
    }
  }
  test.let_processes_die();
  const MemoryStorage before = test.disk();
  bool finished = false;
  for (std::size_t writes = 0; !finished; ++writes) {
    SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
    test.disk() = before;
    {
      auto repository =
          test.open_through(std::make_unique<PowerCut>(test.disk(), writes));
      try {
        (void)prune(repository, kNothingWasted, at_hour(1000), {}, {}, nullptr);
        finished = true;
      } catch (const IoError&) {
      }
    }
    test.let_processes_die();

    auto repository = test.open();
    (void)repair_index(repository, {}, nullptr);

    expect_no_damage(repository, CheckLevel::structure);
    EXPECT_EQ(read_all_snapshots(repository), kept);
    if (HasFailure()) return;
  }
}

TEST(Forget, ForgetsWholeOrNotAtAllWhicheverWriteThePowerCutHits) {
  TestRepository test;
  States states;
  {
    auto repository = test.open();
    const Files files{{"a", noise(1, 9'000)}};
    states[write_snapshot(repository, files, at_hour(1))] = files;
    states[write_snapshot(repository, files, at_hour(2))] = files;
  }
  const MemoryStorage before = test.disk();
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    test.disk() = before;
    {
      auto repository =
          test.open_through(std::make_unique<PowerCut>(test.disk(), 0, falls));
      EXPECT_THROW((void)forget_snapshot(repository, states.begin()->first, "",
                                         at_hour(3)),
                   IoError);
    }

    auto repository = test.open();
    expect_no_damage(repository);
    EXPECT_EQ(read_all_snapshots(repository).size(),
              falls == CutFalls::before_effect ? 2U : 1U);
  }
}

// A history against the plain contents of its snapshots.
TEST(Prune, NeverChangesWhatAKeptSnapshotHolds) {
  for_each_seed(8, [](auto& random) {
    TestRepository test;
    States kept;
    ChunksByPath bases;
    Files files;
    auto repository = test.open();
    for (int step = 0; step < 14; ++step) {
      const auto hour = static_cast<std::int64_t>(step);
      switch (random() % 4) {
        case 0:
        case 1: {
          const std::string path = std::string(random() % 2 == 0 ? "d/" : "") +
                                   "f" + std::to_string(random() % 4);
          Bytes& content = files[path];
          if (content.empty() || random() % 3 == 0) {
            content = random_bytes(random, 1 + random() % 40'000);
          } else {
            content = changed(content, random());
          }
          if (files.size() > 3 && random() % 3 == 0) {
            files.erase(files.begin());
          }
          FilesOptions options;
          options.chunk_bytes = 1'000 + random() % 6'000;
          options.writer.pack_bytes = 30'000 + random() % 60'000;
          if (random() % 4 == 0) options.writer.reuse = Reuse::nothing;
          if (random() % 3 != 0) options.bases = &bases;
          const auto id =
              write_snapshot(repository, files, at_hour(hour), options);
          kept[id] = files;
          break;
        }
        case 2: {
          if (kept.empty()) break;
          auto victim = kept.begin();
          std::advance(victim, static_cast<long>(random() % kept.size()));
          (void)forget_snapshot(repository, victim->first, "", at_hour(hour));
          kept.erase(victim);
          break;
        }
        default: {
          PruneOptions options;
          options.max_unused = static_cast<double>(random() % 3) / 4;
          if (random() % 3 == 0) options.budget = random() % 100'000;
          (void)prune(repository, options, at_hour(hour), {}, {}, nullptr);
          // Chunks of states that were forgotten are gone as bases.
          bases.clear();
          expect_no_damage(repository, CheckLevel::structure);
        }
      }
      if (testing::Test::HasFatalFailure()) return;
    }
    (void)prune(repository, kNothingWasted, at_hour(99), {}, {}, nullptr);

    auto later = test.open();
    expect_no_damage(later);
    EXPECT_EQ(read_all_snapshots(later), kept);
    const auto left =
        plan_prune(later, kNothingWasted, at_hour(99), {}, nullptr);
    EXPECT_EQ(left.bytes_unused, 0U);
  });
}

}  // namespace
}  // namespace cairn::repo
