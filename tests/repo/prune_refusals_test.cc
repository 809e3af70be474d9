// Where something that is needed cannot be read, prune deletes nothing.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::bytes_of;
using testing_support::count_in;
using testing_support::forget;
using testing_support::MemoryStorage;
using testing_support::noise;
using testing_support::nothing_wasted;
using testing_support::prune_all;
using testing_support::TestRepository;
using testing_support::write_snapshot;

// Every object of a kind that is needed damaged in turn: nothing may be
// deleted.
void expect_refusal(
    const std::string& folder,
    const std::function<void(MemoryStorage&, std::string_view)>& damage) {
  TestRepository test;
  SessionId old;
  {
    auto repository = test.open();
    old = write_snapshot(repository,
                         {{"a", noise(1, 90'000)}, {"b", noise(2, 9'000)}},
                         at_hour(1));
    (void)write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(2));
    forget(repository, old);
  }
  std::vector<std::string> names;
  test.disk().list(folder, [&](const ListedObject& object) {
    // A slot that is forgotten is not read.
    if (object.name != snapshot_name(old)) names.push_back(object.name);
  });
  ASSERT_FALSE(names.empty());
  const MemoryStorage sound = test.disk();
  for (const auto& name : names) {
    SCOPED_TRACE(name);
    test.disk() = sound;
    damage(test.disk(), name);
    test.forget_cache();
    auto repository = test.open();

    EXPECT_THROW((void)prune_all(repository, nothing_wasted()),
                 CorruptionError);
    EXPECT_EQ(count_in(test.disk(), "packs"), count_in(sound, "packs"));
    EXPECT_EQ(count_in(test.disk(), "snapshots"), count_in(sound, "snapshots"));
    EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
  }
}

void flip_middle(MemoryStorage& disk, std::string_view name) {
  disk.flip_bit(name, *disk.size(name) / 2, 3);
}

TEST(Prune, RefusesWhenASnapshotIsDamaged) {
  expect_refusal("snapshots", flip_middle);
}
TEST(Prune, RefusesWhenAMarkIsDamaged) { expect_refusal("marks", flip_middle); }
TEST(Prune, RefusesWhenAnIndexObjectIsDamaged) {
  expect_refusal("index", flip_middle);
}
TEST(Prune, RefusesWhenADirectoryIsDamaged) {
  expect_refusal("packs", [](MemoryStorage& disk, std::string_view name) {
    disk.flip_bit(name, *disk.size(name) - kTrailerBytes - 100, 3);
  });
}

TEST(Prune, RefusesWhenANodeIsMissing) {
  TestRepository test;
  auto repository = test.open();
  const auto old =
      write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
  (void)write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(2));
  forget(repository, old);
  // The packs of nodes of the second one.
  for (const auto& pack : list_packs(test.disk())) {
    const auto directory =
        read_pack_directory(test.disk(), repository.keyring(), pack.id)
            .pack.directory;
    if (directory.rows.front().kind != BlobKind::content) {
      test.disk().remove(pack_name(pack.id));
    }
  }
  const auto packs = count_in(test.disk(), "packs");

  EXPECT_THROW((void)prune_all(repository), CorruptionError);
  EXPECT_EQ(count_in(test.disk(), "packs"), packs);
}

TEST(Prune, RefusesWhatANewerProgramWrote) {
  TestRepository test;
  auto repository = test.open();
  const auto old =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  forget(repository, old);
  ASSERT_EQ(test.disk().create("settings/1", bytes_of("?")), Created::created);

  EXPECT_THROW((void)prune_all(repository), UnsupportedFormat);
  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
}

TEST(Prune, RefusesToCopyABlobThatIsDamaged) {
  TestRepository test;
  auto repository = test.open();
  const auto old =
      write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
  (void)write_snapshot(repository, {{"a", noise(1, 40'960)}}, at_hour(2));
  forget(repository, old);
  for (const auto& pack : list_packs(test.disk())) {
    test.disk().flip_bit(pack_name(pack.id), kPackHeadBytes + 5, 1);
  }

  EXPECT_THROW((void)prune_all(repository, nothing_wasted()), CorruptionError);
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
}

}  // namespace
}  // namespace cairn::repo
