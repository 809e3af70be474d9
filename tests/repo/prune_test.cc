#include "repo/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::changed;
using testing_support::ChunksByPath;
using testing_support::count_in;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::forget;
using testing_support::indexed_packs;
using testing_support::MemoryStorage;
using testing_support::noise;
using testing_support::nothing_wasted;
using testing_support::plan_of;
using testing_support::prune_all;
using testing_support::read_all_snapshots;
using testing_support::Reuse;
using testing_support::StateWriter;
using testing_support::stored_packs;
using testing_support::TestRepository;
using testing_support::write_snapshot;

// Every row whose base has no copy of smaller depth.
std::vector<std::string> rows_without_base(const Storage& storage,
                                           const Keyring& keyring) {
  std::vector<BlobRow> rows;
  for (const auto& pack : list_packs(storage)) {
    const auto directory =
        read_pack_directory(storage, keyring, pack.id).pack.directory;
    rows.insert(rows.end(), directory.rows.begin(), directory.rows.end());
  }
  std::vector<std::string> missing;
  for (const auto& row : rows) {
    if (!row.base) continue;
    const bool has_base = std::ranges::any_of(rows, [&](const BlobRow& other) {
      return other.id == *row.base && other.depth < row.depth;
    });
    if (!has_base) missing.push_back(row.id.brief());
  }
  return missing;
}

TEST(Prune, FreesWhatOnlyAForgottenSnapshotNeeded) {
  TestRepository test;
  auto repository = test.open();
  const auto old = write_snapshot(
      repository, {{"a", noise(1, 100'000)}, {"b", noise(2, 9'000)}},
      at_hour(1));
  const auto kept =
      write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(2));
  forget(repository, old);

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.slots_settled, 1U);
  EXPECT_EQ(outcome.marks_settled, 1U);
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "marks"), 0U);
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
  std::uint64_t bytes = 0;
  for (const auto& pack : list_packs(test.disk())) bytes += pack.size;
  EXPECT_LT(bytes, 80'000U);
  auto later = test.open();
  const auto states = read_all_snapshots(later);
  ASSERT_EQ(states.size(), 1U);
  EXPECT_EQ(states.at(kept), (Files{{"b", noise(2, 9'000)}}));
}

TEST(Prune, DoesNothingWhereThereIsNothingToDo) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, {{"a", noise(1, 50'000)}}, at_hour(1));
  const auto packs = stored_packs(test.disk());
  const auto indexes = list_indexes(test.disk());

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.removed.packs + outcome.repacked.packs, 0U);
  EXPECT_EQ(outcome.indexes_written + outcome.indexes_removed, 0U);
  EXPECT_EQ(stored_packs(test.disk()), packs);
  EXPECT_EQ(list_indexes(test.disk()), indexes);
}

TEST(Prune, LeavesAnIndexThatNamesJustThePacksThatRemain) {
  TestRepository test;
  auto repository = test.open();
  const auto old = write_snapshot(
      repository, {{"a", noise(1, 100'000)}, {"b", noise(2, 9'000)}},
      at_hour(1));
  (void)write_snapshot(
      repository, {{"b", noise(2, 9'000)}, {"c", noise(3, 9'000)}}, at_hour(2));
  forget(repository, old);

  (void)prune_all(repository, nothing_wasted());

  const auto stored = stored_packs(test.disk());
  const auto indexed = indexed_packs(test.disk(), repository.keyring());
  EXPECT_TRUE(std::ranges::equal(stored, indexed));
}

TEST(Prune, LeavesAPackAloneThatWastesLittle) {
  TestRepository test;
  auto repository = test.open();
  const auto old = write_snapshot(
      repository, {{"a", noise(1, 200'000)}, {"b", noise(2, 5'000)}},
      at_hour(1));
  (void)write_snapshot(repository, {{"a", noise(1, 200'000)}}, at_hour(2));
  forget(repository, old);

  const auto lenient = plan_of(repository);
  const auto strict = plan_of(repository, nothing_wasted());

  EXPECT_GT(lenient.bytes_unused, 5'000U);
  EXPECT_EQ(strict.bytes_unused, 0U);
  EXPECT_GT(strict.repacked.packs, lenient.repacked.packs);
}

TEST(Prune, WritesNoMoreThanItsBudget) {
  TestRepository test;
  auto repository = test.open();
  Files all;
  for (int i = 0; i < 8; ++i) {
    all["f" + std::to_string(i)] = noise(static_cast<unsigned>(i), 60'000);
  }
  FilesOptions small_packs;
  small_packs.writer.pack_bytes = 100'000;
  const auto old = write_snapshot(repository, all, at_hour(1), small_packs);
  Files half;
  for (int i = 0; i < 8; ++i) {
    auto content = noise(static_cast<unsigned>(i), 60'000);
    content.resize(28'672);  // whole chunks
    half["f" + std::to_string(i)] = content;
  }
  (void)write_snapshot(repository, half, at_hour(2), small_packs);
  forget(repository, old);

  const auto plan =
      plan_of(repository, {.max_unused = 0, .budget = std::uint64_t{70'000}});

  EXPECT_GT(plan.repacked.packs, 0U);
  EXPECT_LE(plan.bytes_rewritten, 70'000U);
  EXPECT_GT(plan.bytes_unused, 0U);
}

TEST(Prune, MergesSmallPacksOnceTheyAreMany) {
  TestRepository test;
  auto repository = test.open();
  for (unsigned i = 0; i < 20; ++i) {
    (void)write_snapshot(repository, {{"f", noise(i, 3'000)}}, at_hour(i));
  }
  const auto before = stored_packs(test.disk()).size();

  (void)prune_all(repository);

  EXPECT_EQ(before, 40U);
  EXPECT_EQ(stored_packs(test.disk()).size(), 2U);
  EXPECT_EQ(count_in(test.disk(), "index"), 1U);
  auto later = test.open();
  EXPECT_EQ(read_all_snapshots(later).size(), 20U);
}

TEST(Prune, NeverMixesContentWithNodes) {
  TestRepository test;
  auto repository = test.open();
  for (unsigned i = 0; i < 20; ++i) {
    (void)write_snapshot(repository, {{"f", noise(i, 3'000)}}, at_hour(i));
  }

  (void)prune_all(repository);

  for (const auto& pack : list_packs(test.disk())) {
    const auto directory =
        read_pack_directory(test.disk(), repository.keyring(), pack.id)
            .pack.directory;
    const auto is_content = [](const BlobRow& row) {
      return row.kind == BlobKind::content;
    };
    EXPECT_TRUE(std::ranges::all_of(directory.rows, is_content) ||
                std::ranges::none_of(directory.rows, is_content));
  }
}

// A chain of states, each a difference to the one before, all but some of them
// forgotten.
struct Chain {
  std::vector<SessionId> snapshots;
  std::vector<Files> states;
};

Chain write_chain(Repository& repository, unsigned length) {
  Chain chain;
  ChunksByPath bases;
  FilesOptions options;
  options.bases = &bases;
  Files files{{"db", noise(7, 40'000)}};
  for (unsigned i = 0; i < length; ++i) {
    files["db"] = changed(files["db"], 100 + i);
    chain.states.push_back(files);
    chain.snapshots.push_back(
        write_snapshot(repository, files, at_hour(i), options));
  }
  return chain;
}

TEST(Prune, KeepsBasesOfEveryRowItKeeps) {
  TestRepository test;
  auto repository = test.open();
  const auto chain = write_chain(repository, 6);
  // The last one rests on all that came before.
  for (std::size_t i = 0; i + 1 < chain.snapshots.size(); ++i) {
    forget(repository, chain.snapshots[i]);
  }

  (void)prune_all(repository, nothing_wasted());

  EXPECT_EQ(rows_without_base(test.disk(), repository.keyring()),
            std::vector<std::string>{});
  auto later = test.open();
  const auto states = read_all_snapshots(later);
  ASSERT_EQ(states.size(), 1U);
  EXPECT_EQ(states.at(chain.snapshots.back()), chain.states.back());
}

TEST(Prune, KeepsBasesOfDeadRowsInPacksItKeeps) {
  TestRepository test;
  auto repository = test.open();
  const auto base_bytes = noise(1, 4'000);
  SessionId base_snapshot;
  Link base;
  {
    StateWriter writer(repository);
    base = writer.chunk(base_bytes);
    writer.add_file("base", std::vector{base});
    base_snapshot = writer.commit(at_hour(1));
  }
  SessionId both_snapshot;
  std::vector<Link> large;
  {
    // One pack with much that stays alive and one difference that will not.
    StateWriter writer(repository);
    for (unsigned i = 0; i < 30; ++i) {
      large.push_back(writer.chunk(noise(50 + i, 4'000)));
    }
    const auto difference = writer.chunk(changed(base_bytes, 9), base.id);
    writer.add_file("difference", std::vector{difference});
    writer.add_file("large", large);
    both_snapshot = writer.commit(at_hour(2));
  }
  {
    StateWriter writer(repository);
    writer.add_file("large", large);
    (void)writer.commit(at_hour(3));
  }
  forget(repository, base_snapshot);
  forget(repository, both_snapshot);

  const auto outcome = prune_all(repository);

  EXPECT_GT(outcome.removed.packs + outcome.repacked.packs, 0U);
  EXPECT_EQ(rows_without_base(test.disk(), repository.keyring()),
            std::vector<std::string>{});
  auto later = test.open();
  EXPECT_FALSE(later.index().find(base.id).empty());
}

TEST(Prune, KeepsTheShallowCopyThatADifferenceRestsOn) {
  // B has a plain copy and one that is a difference to A; C is a difference to
  // A's difference... whichever copy goes, A must not come to rest on itself.
  TestRepository test;
  auto repository = test.open();
  const auto a = noise(1, 4'000);
  const auto b = changed(a, 2);
  SessionId first;
  {
    StateWriter writer(repository);
    const auto link_a = writer.chunk(a);
    const auto link_b = writer.chunk(b, link_a.id);  // depth 1, base A
    writer.add_file("f", std::vector{link_a, link_b});
    first = writer.commit(at_hour(1));
  }
  SessionId second;
  {
    StateWriter writer(repository, {.reuse = Reuse::nothing});
    const auto link_b = writer.chunk(b);
    const auto link_a = writer.chunk(a, link_b.id);  // depth 1, base B
    writer.add_file("f", std::vector{link_a, link_b});
    second = writer.commit(at_hour(2));
  }
  forget(repository, first);

  (void)prune_all(repository, nothing_wasted());

  EXPECT_EQ(rows_without_base(test.disk(), repository.keyring()),
            std::vector<std::string>{});
  auto later = test.open();
  Bytes both = a;
  both.insert(both.end(), b.begin(), b.end());
  EXPECT_EQ(read_all_snapshots(later),
            (std::map<SessionId, Files>{{second, {{"f", both}}}}));
}

TEST(Prune, KeepsOneOfTwoEqualCopies) {
  TestRepository test;
  auto repository = test.open();
  const Files files{{"f", noise(1, 50'000)}};
  (void)write_snapshot(repository, files, at_hour(1));
  FilesOptions again;
  again.writer.reuse = Reuse::nothing;
  (void)write_snapshot(repository, files, at_hour(2), again);

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.removed.packs, 2U);
  EXPECT_EQ(outcome.repacked.packs, 0U);
  auto later = test.open();
  for (const auto& [id, state] : read_all_snapshots(later)) {
    EXPECT_EQ(state, files);
  }
}

TEST(Prune, RemovesPacksOfASessionThatNeverCommitted) {
  TestRepository test;
  auto repository = test.open();
  const auto kept =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  {
    StateWriter writer(repository);
    testing_support::write_files(writer, {{"b", noise(2, 9'000)}});
    writer.publish_packs();
  }
  test.let_processes_die();
  auto later = test.open();

  const auto outcome = prune_all(later);

  EXPECT_EQ(outcome.sessions_fenced, 1U);
  EXPECT_EQ(outcome.removed.packs, 2U);
  EXPECT_EQ(read_all_snapshots(later).count(kept), 1U);
}

TEST(Prune, LosesNothingWhenTheIndexWasLost) {
  TestRepository test;
  SessionId kept;
  {
    auto repository = test.open();
    kept = write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  }
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().remove(index_name(id));
  }
  auto repository = test.open();

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.removed.packs, 0U);
  EXPECT_EQ(outcome.indexes_written, 1U);
  auto later = test.open();
  EXPECT_EQ(read_all_snapshots(later).at(kept),
            (Files{{"a", noise(1, 9'000)}}));
}

TEST(Prune, IsNotMisledByALocalIndexOfAnotherTime) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, {{"a", noise(1, 50'000)}}, at_hour(1));
  const MemoryStorage early = test.disk();
  const auto later_snapshot =
      write_snapshot(repository, {{"b", noise(2, 50'000)}}, at_hour(2));
  forget(repository, later_snapshot);
  repository.index().refresh(repository.storage(), repository.keyring());

  test.disk() = early;  // restored from a copy; the cache knows more
  auto restored = test.open();
  (void)prune_all(restored);

  auto again = test.open();
  EXPECT_EQ(read_all_snapshots(again).size(), 1U);
}

TEST(Prune, ChangesNothingWhenItsPlanIsRefused) {
  TestRepository test;
  auto repository = test.open();
  const auto old =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  forget(repository, old);

  (void)prune(
      repository, {}, at_hour(2),
      {.decide = [](const PrunePlan&) { return Proceed::no; }, .waits = {}}, {},
      nullptr);

  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
}

TEST(Prune, StopsWhenAskedAndSignsOff) {
  TestRepository test;
  auto repository = test.open();
  const auto old =
      write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
  forget(repository, old);
  std::stop_source stop;
  stop.request_stop();

  EXPECT_THROW(
      (void)prune(repository, {}, at_hour(2), {}, stop.get_token(), nullptr),
      Cancelled);
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
}

TEST(Prune, IsNotForAWriteKey) {
  TestRepository test;
  auto repository = test.open_as(Role::write);

  EXPECT_THROW((void)prune_all(repository), WrongKey);
}

TEST(Prune, WorksWithAKeyThatReadsNeitherNamesNorContents) {
  TestRepository test;
  SessionId kept;
  {
    auto repository = test.open();
    const auto old =
        write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
    kept = write_snapshot(repository,
                          {{"a", noise(1, 40'960)}, {"b", noise(2, 9'000)}},
                          at_hour(2));
    forget(repository, old);
  }
  auto maintainer = test.open_as(Role::maintain);

  const auto outcome = prune_all(maintainer, nothing_wasted());

  EXPECT_GT(outcome.repacked.packs, 0U);
  auto owner = test.open();
  EXPECT_EQ(read_all_snapshots(owner).at(kept),
            (Files{{"a", noise(1, 40'960)}, {"b", noise(2, 9'000)}}));
}

}  // namespace
}  // namespace cairn::repo
