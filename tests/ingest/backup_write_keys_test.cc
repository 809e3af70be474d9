// Hosts with write keys that back up to one repository, one of which is in
// wrong hands.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "repo/check.h"
#include "repo/prune.h"
#include "tests/support/backup_site.h"
#include "tests/support/test_repository.h"

namespace cairn::ingest {
namespace {

using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::let_settle;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::run_backup;
using testing_support::source_of;
using testing_support::sources;
using testing_support::store_false_copy;
using testing_support::StoredTree;
using testing_support::TempFolder;

// The chunks of the stream `name`, as backups of a like repository cut it.
std::vector<repo::Link> chunks_of(BackupSite& site, std::string_view name) {
  return testing_support::read_newest(site).at(std::string(name)).chunks;
}

repo::CheckReport check_data(BackupSite& site, repo::Vouch vouch) {
  auto owner = site.open();
  return repo::check(owner,
                     {.level = repo::CheckLevel::data,
                      .now = testing_support::at_hour(9999),
                      .vouch = vouch},
                     {}, nullptr);
}

// A and B hold a write key each; whoever has A's spoils what B stores.
TEST(BackupWithWriteKeys, IsNotSpoiledByWhoHoldsAnotherOne) {
  std::mt19937_64 random(7);
  BackupSite site;
  const auto key_a = site.add_key(repo::Role::write);
  const auto key_b = site.add_key(repo::Role::write);
  const Bytes first = random_bytes(random, 200'000);
  const Bytes second = random_bytes(random, 200'000);
  std::vector<repo::PackId> false_packs;
  const auto spoil = [&](const std::vector<repo::Link>& chunks) {
    auto thief = site.open_with(key_a);
    for (const auto& chunk : chunks) {
      const Bytes lie =
          random_bytes(random, static_cast<std::size_t>(chunk.length));
      false_packs.push_back(
          store_false_copy(thief, chunk.kind, chunk.id, lie).id);
    }
  };
  const auto back_up = [&](const Bytes& content) {
    auto b = site.open_with(key_b);
    return run_backup(b, sources(source_of("s", content)));
  };

  // What B has stored; and what it will, which A has learned elsewhere.
  (void)back_up(first);
  const auto stored = chunks_of(site, "s");
  spoil(stored);
  site.keep();
  (void)back_up(second);
  const auto later = chunks_of(site, "s");
  site.go_back();
  ASSERT_FALSE(later.empty());
  spoil(later);

  EXPECT_EQ(back_up(second).chunks_new, later.size());
  EXPECT_EQ(back_up(first).chunks_new, 0U);
  const auto prune = [&] {
    auto owner = site.open();
    (void)repo::prune(owner, {.max_unused = 0, .budget = {}},
                      testing_support::at_hour(9999), {}, {}, nullptr);
  };
  const auto expect_whole = [&] {
    const auto snapshots = read_all_snapshots(site);
    ASSERT_EQ(snapshots.size(), 3U);
    EXPECT_TRUE(snapshots[0].tree.at("s").content == first);
    EXPECT_TRUE(snapshots[1].tree.at("s").content == second);
    EXPECT_TRUE(snapshots[2].tree.at("s").content == first);
  };
  prune();
  expect_whole();

  // The owner learns which ones are A's, and that no snapshot is hurt.
  const auto report = check_data(site, repo::Vouch::yes);
  EXPECT_EQ(report.count(repo::Severity::damage), false_packs.size());
  for (const auto& finding : report.findings) {
    if (finding.severity != repo::Severity::damage) continue;
    EXPECT_EQ(finding.code, "damaged-blob");
    EXPECT_TRUE(std::ranges::any_of(false_packs, [&](const auto& id) {
      return finding.object.ends_with(id.hex());
    }));
    EXPECT_TRUE(finding.snapshots.empty());
  }
  EXPECT_GT(report.packs_verified, 0U);

  // Once the good copies are verified, the others go.
  prune();
  expect_whole();
  EXPECT_TRUE(testing_support::damage_in(site).empty());
  const auto left = testing_support::packs_in(site.disk());
  for (const auto& id : false_packs) EXPECT_FALSE(left.contains(id));
}

// The cache of paths knows the file: it lies in packs of a key that the next
// run does not hold.
TEST(BackupWithWriteKeys, DoesNotPassByAFileThatAnotherKeyOfThisHostStored) {
  std::mt19937_64 random(8);
  BackupSite site;
  const auto key_a = site.add_key(repo::Role::write);
  const auto key_b = site.add_key(repo::Role::write);
  TempFolder folder;
  const Bytes content = random_bytes(random, 100'000);
  {
    std::ofstream out(folder / "file", std::ios::binary);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
  }
  let_settle(folder.path());
  const auto back_up = [&](const crypto::Secret& key) {
    auto repository = site.open_with(key);
    return run_backup(repository, sources(source_of(folder.path())));
  };

  EXPECT_GT(back_up(key_a).chunks_new, 0U);
  const auto again = back_up(key_a);
  EXPECT_EQ(again.files_unmodified, 1U);
  EXPECT_EQ(again.chunks, 0U);

  const auto other = back_up(key_b);
  EXPECT_EQ(other.files_read_again, 1U);
  EXPECT_GT(other.chunks_new, 0U);
  EXPECT_TRUE(other.warnings.empty());

  (void)check_data(site, repo::Vouch::yes);
  const auto shared = back_up(key_b);
  EXPECT_EQ(shared.chunks_new, 0U);
}

}  // namespace
}  // namespace cairn::ingest
