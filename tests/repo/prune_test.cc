#include "repo/prune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/session.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::Call;
using testing_support::ChunksByPath;
using testing_support::CutFalls;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::MemoryStorage;
using testing_support::PowerCut;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::Reuse;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_snapshot;

PruneOutcome prune_all(Repository& repository, PruneOptions options = {}) {
  return prune(repository, options, at_hour(1000), {}, {}, nullptr);
}

PruneOptions nothing_wasted() { return {.max_unused = 0, .budget = {}}; }

PrunePlan plan_of(Repository& repository, PruneOptions options = {}) {
  return plan_prune(repository, options, at_hour(1000), {}, nullptr);
}

void forget(Repository& repository, const SessionId& id) {
  (void)forget_snapshot(repository, id, "test", at_hour(500));
}

std::size_t count_in(const Storage& storage, std::string_view folder) {
  std::size_t count = 0;
  storage.list(folder, [&](const ListedObject&) { ++count; });
  return count;
}

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

// The same bytes with a few changed, so that a difference is small.
Bytes changed(Bytes bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] ^= std::byte{1};
  return bytes;
}

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

// Packs that exist, and packs that index objects name.
std::set<PackId> stored_packs(const Storage& storage) {
  std::set<PackId> packs;
  for (const auto& pack : list_packs(storage)) packs.insert(pack.id);
  return packs;
}
std::multiset<PackId> indexed_packs(const Storage& storage,
                                    const Keyring& keyring) {
  std::multiset<PackId> packs;
  for (const auto& id : list_indexes(storage)) {
    for (const auto& pack : read_index(storage, keyring, id).packs) {
      packs.insert(pack.id);
    }
  }
  return packs;
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

// It may rest on anything that was there when it began.
TEST(Prune, WaitsForASessionFromBeforeAndTheNextOneGoesOn) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  const auto old = write_snapshot(repository, files, at_hour(1));
  auto other = test.open();
  StateWriter writer(other);
  forget(repository, old);
  const auto packs = count_in(test.disk(), "packs");

  const auto first = prune_all(repository);
  EXPECT_EQ(first.waits_for.size(), 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), packs);
  testing_support::write_files(writer, files);  // all of it was there already
  const auto id = writer.commit(at_hour(2));
  const auto second = prune_all(repository);

  EXPECT_TRUE(second.waits_for.empty());
  EXPECT_EQ(second.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_TRUE(read_all_snapshots(reader).contains(id));
}

TEST(Prune, TakesAwayWhatASessionFromBeforeDidNotNeedAfterAll) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  auto other = test.open();
  StateWriter writer(other);

  (void)prune_all(repository);
  testing_support::write_files(writer, {{"b", noise(2, 9'000)}});
  (void)writer.commit(at_hour(2));
  const auto second = prune_all(repository);

  EXPECT_GT(second.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_EQ(plan_of(reader, nothing_wasted()).removed.packs, 0U);
}

// Between condemnation and doom others begin: they use nothing that is
// condemned, and nobody waits for them.
TEST(Prune, LetsWritersBeginWhileItWaitsAndWaitsForNoneOfThem) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  forget(repository, write_snapshot(repository, files, at_hour(1)));
  auto slow = test.open();
  StateWriter before(slow);
  EXPECT_EQ(prune_all(repository).waits_for.size(), 1U);

  auto other = test.open();
  const auto later = write_snapshot(other, files, at_hour(2));
  auto third = test.open();
  const StateWriter still_at_work(third);
  testing_support::write_files(before, {{"b", noise(2, 9'000)}});
  (void)before.commit(at_hour(3));
  const auto outcome = prune_all(repository);

  EXPECT_GT(outcome.removed.packs, 0U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 2U);
  EXPECT_EQ(read_all_snapshots(reader).at(later), files);
}

TEST(Prune, FencesASessionWhoseProcessIsGone) {
  TestRepository test;
  auto repository = test.open();
  StateWriter writer(repository);
  testing_support::write_files(writer, {{"a", noise(1, 9'000)}});
  writer.publish_index();
  test.let_processes_die();

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.sessions_fenced, 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
  // The tombstone is settled by now: the slot is free, and void all the same.
  EXPECT_THROW((void)writer.commit(at_hour(1)), LockedError);
  auto reader = test.open();
  EXPECT_TRUE(read_all_snapshots(reader).empty());
}

// Where two could both take a slot, only the session itself can end it.
TEST(Prune, FencesNobodyOnAStorageThatSettlesNoRace) {
  class LastWins : public FaultyStorage {
   public:
    using FaultyStorage::FaultyStorage;
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      if (name.starts_with("probes/")) remove(name);
      return FaultyStorage::create(name, bytes);
    }
  };
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  auto other = test.open();
  const StateWriter writer(other);
  test.let_processes_die();
  const auto packs = count_in(test.disk(), "packs");
  auto weak = test.open_through(std::make_unique<LastWins>(test.disk()));

  const auto outcome = prune_all(weak);

  EXPECT_FALSE(outcome.can_fence);
  EXPECT_EQ(outcome.sessions_fenced, 0U);
  EXPECT_EQ(outcome.waits_for.size(), 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), packs);
  EXPECT_EQ(prune_all(repository).sessions_fenced, 1U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
}

// A folder, say: it is not listed, and its name is taken.
// Who fenced it slept before it took the registration away.
TEST(Prune, LeavesATombstoneAsLongAsItsSessionIsRegistered) {
  TestRepository test;
  auto repository = test.open();
  auto other = test.open();
  StateWriter writer(other);
  ASSERT_EQ(
      publish_tombstone(test.disk(), repository.keyring(), repository.signer(),
                        {writer.session(), at_hour(1), "fenced"}),
      Created::created);
  for (int hour = 2; hour <= 4; ++hour) {
    forget(repository,
           write_snapshot(repository,
                          {{"a", noise(static_cast<unsigned>(hour), 9'000)}},
                          at_hour(hour)));
    (void)prune_all(repository);
    EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  }
  remove_registration(test.disk(), writer.session());
  forget(repository,
         write_snapshot(repository, {{"a", noise(9, 9'000)}}, at_hour(5)));

  (void)prune_all(repository);

  EXPECT_EQ(count_in(test.disk(), "snapshots"), 0U);
}

TEST(Prune, EndsWhereWhatHasAnEpochsNameIsNone) {
  class Taken : public FaultyStorage {
   public:
    using FaultyStorage::FaultyStorage;
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      if (name.starts_with("epochs/")) return Created::exists;
      return FaultyStorage::create(name, bytes);
    }
  };
  TestRepository test;
  {
    auto repository = test.open();
    forget(repository,
           write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  }
  auto repository = test.open_through(std::make_unique<Taken>(test.disk()));

  EXPECT_THROW((void)prune_all(repository), CorruptionError);
  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
}

// Calls `meanwhile` once before that folder is listed, after a doom.
class Meanwhile : public FaultyStorage {
 public:
  Meanwhile(Storage& inner, std::string folder, std::function<void()> meanwhile)
      : FaultyStorage(inner),
        inner_(inner),
        folder_(std::move(folder)),
        meanwhile_(std::move(meanwhile)) {}

  void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const override {
    if (folder == folder_ && inner_.size(epoch_name(2)) && meanwhile_) {
      std::exchange(meanwhile_, {})();
    }
    FaultyStorage::list(folder, visit);
  }

 private:
  Storage& inner_;
  std::string folder_;
  mutable std::function<void()> meanwhile_;
};

TEST(Prune, LeavesTheIndexOfABackupThatEndsWhileItRewritesTheIndex) {
  for (const std::string folder : {"index", "packs"}) {
    SCOPED_TRACE(folder);
    TestRepository test;
    {
      auto repository = test.open();
      forget(repository,
             write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
    }
    auto other = test.open();
    auto repository =
        test.open_through(std::make_unique<Meanwhile>(test.disk(), folder, [&] {
          (void)write_snapshot(other, {{"b", noise(2, 9'000)}}, at_hour(2));
        }));

    (void)prune_all(repository);

    auto reader = test.open();
    EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
    std::set<PackId> vouched;
    for (const auto& index :
         read_index_contents(test.disk(), reader.keyring())) {
      if (index.assurance != Assurance::for_everyone()) continue;
      vouched.insert(index.packs.begin(), index.packs.end());
    }
    for (const auto& pack : list_packs(test.disk())) {
      EXPECT_TRUE(vouched.contains(pack.id));
    }
  }
}

TEST(Prune, IsAskedOnceAndOthersMayWriteMeanwhile) {
  TestRepository test;
  auto repository = test.open();
  const Files files = {{"a", noise(1, 9'000)}};
  forget(repository, write_snapshot(repository, files, at_hour(1)));
  unsigned asked = 0;
  std::optional<SessionId> committed;

  (void)prune(repository, {}, at_hour(2),
              {.decide =
                   [&](const PrunePlan&) {
                     ++asked;
                     auto other = test.open();
                     committed = write_snapshot(other, files, at_hour(3));
                     return Proceed::yes;
                   },
               .waits = {}},
              {}, nullptr);

  EXPECT_EQ(asked, 1U);
  auto reader = test.open();
  EXPECT_TRUE(read_all_snapshots(reader).contains(*committed));
  EXPECT_EQ(count_in(test.disk(), "sessions"), 0U);
}

TEST(Prune, FinishesWhatAnotherOneLeftOpen) {
  TestRepository test;
  auto repository = test.open();
  const auto kept =
      write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(1));
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(2)));
  auto other = test.open();
  {
    StateWriter writer(other);
    EXPECT_EQ(prune_all(repository).waits_for.size(), 1U);
  }
  test.let_processes_die();
  EXPECT_EQ(list_epochs(test.disk()).back(), 1U);

  auto later = test.open();
  const auto outcome = prune_all(later);

  EXPECT_EQ(outcome.removed.packs, 2U);
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
  EXPECT_TRUE(read_all_snapshots(reader).contains(kept));
  EXPECT_EQ(count_in(test.disk(), "snapshots"), 1U);
  EXPECT_EQ(count_in(test.disk(), "marks"), 0U);
}

TEST(Prune, KeepsWhatGoesInTheTrashUntilItIsOldEnough) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  PruneOptions options;
  options.trash = std::chrono::hours(24);
  const auto at = [&](std::int64_t hour) {
    return prune(repository, options, at_hour(hour), {}, {}, nullptr);
  };

  EXPECT_EQ(at(100).trash.packs, 2U);
  EXPECT_EQ(at(123).trash.packs, 2U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 2U);
  EXPECT_EQ(at(124).removed.packs, 2U);
  EXPECT_EQ(count_in(test.disk(), "packs"), 0U);
}

TEST(Prune, WritesANewEpochAfterOneThatIsDamaged) {
  for (const std::uint64_t damaged : {1U, 2U}) {
    TestRepository test;
    auto repository = test.open();
    const auto kept =
        write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(1));
    forget(repository,
           write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(2)));
    if (damaged == 1) {
      auto other = test.open();
      const StateWriter writer(other);
      (void)prune_all(repository);
      test.let_processes_die();
    } else {
      (void)prune_all(repository);
      forget(repository,
             write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(3)));
    }
    ASSERT_EQ(list_epochs(test.disk()).back(), damaged);
    test.disk().flip_bit(epoch_name(damaged), 80, 1);

    (void)prune_all(repository);

    EXPECT_GT(list_epochs(test.disk()).back(), damaged);
    auto reader = test.open();
    EXPECT_TRUE(reader.snapshots(at_hour(9)).damage.empty());
    EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
    EXPECT_TRUE(read_all_snapshots(reader).contains(kept));
    EXPECT_EQ(plan_of(reader, nothing_wasted()).removed.packs, 0U);
  }
}

// Else backups would be refused for ever.
TEST(Prune, GoesOnAfterEpochsThatAreDamagedAlsoWhenNothingGoes) {
  TestRepository test;
  auto repository = test.open();
  forget(repository,
         write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1)));
  (void)write_snapshot(repository, {{"k", noise(5, 9'000)}}, at_hour(2));
  (void)prune_all(repository);
  for (const std::uint64_t number : {1U, 2U}) {
    test.disk().flip_bit(epoch_name(number), 80, 1);
  }
  EXPECT_THROW((void)StateWriter(repository), CorruptionError);

  (void)prune_all(repository);

  EXPECT_NO_THROW((void)StateWriter(repository));
  auto reader = test.open();
  EXPECT_EQ(read_all_snapshots(reader).size(), 1U);
}

TEST(Prune, KeepsTheLastFourEpochs) {
  TestRepository test;
  auto repository = test.open();
  for (int i = 1; i <= 5; ++i) {
    forget(repository,
           write_snapshot(repository,
                          {{"a", noise(static_cast<unsigned>(i), 9'000)}},
                          at_hour(i)));
    (void)prune_all(repository);
  }
  EXPECT_EQ(list_epochs(test.disk()),
            (std::vector<std::uint64_t>{7, 8, 9, 10}));
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

TEST(Prune, GivesTheReserveBackWhenTheDiskIsFull) {
  TestRepository test;
  {
    auto repository = test.open();
    const auto old =
        write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
    forget(repository, old);
  }
  auto full = std::make_unique<FaultyStorage>(test.disk());
  full->fail(Call::create, 1, OutOfSpace("no space left"));
  auto repository = test.open_through(std::move(full));

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.removed.packs, 2U);
  EXPECT_TRUE(outcome.has_reserve);
  EXPECT_TRUE(test.disk().size(kReserveName));
}

// A pack that goes whole, and one of which half is needed.
struct HalfNeeded {
  HalfNeeded() {
    auto repository = test.open();
    const auto gone =
        write_snapshot(repository, {{"x", noise(3, 90'000)}}, at_hour(0));
    const auto old =
        write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
    kept = write_snapshot(repository, files, at_hour(2));
    forget(repository, gone);
    forget(repository, old);
  }

  // Each of these publications meets a full disk, counted from 1.
  PruneOutcome prune_with_no_room_at(std::initializer_list<std::size_t> calls) {
    auto full = std::make_unique<FaultyStorage>(test.disk());
    for (const std::size_t call : calls) {
      full->add(
          {.call = Call::publish,
           .nth = call,
           .error = std::make_exception_ptr(OutOfSpace("no space left"))});
    }
    auto repository = test.open_through(std::move(full));
    return prune_all(repository, nothing_wasted());
  }

  void expect_whole() {
    auto later = test.open();
    EXPECT_EQ(read_all_snapshots(later).at(kept), files);
    EXPECT_FALSE(prune_all(later, nothing_wasted()).ran_out_of_space);
    EXPECT_EQ(plan_of(later, nothing_wasted()).repacked.packs, 0U);
  }

  const Files files = {{"a", noise(1, 40'960)}};
  TestRepository test;
  SessionId kept;
};

TEST(Prune, TakesAwayWhatIsDeadWholeAndThenRepacksOnAFullDisk) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1, 2});

  EXPECT_FALSE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.removed.packs, 2U);
  EXPECT_GE(outcome.repacked.packs, 1U);
  scene.expect_whole();
}

TEST(Prune, RepacksWithTheReserveOnAFullDisk) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1});

  EXPECT_FALSE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.repacked.packs, 1U);
  EXPECT_TRUE(scene.test.disk().size(kReserveName));  // taken again at the end
  scene.expect_whole();
}

TEST(Prune, FreesWhatItCanWhenThereIsNoRoomToRepack) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1, 2, 3, 4});

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.removed.packs, 2U);
  EXPECT_EQ(outcome.repacked.packs, 0U);
  scene.expect_whole();
}

TEST(Forget, GivesTheReserveBackWhenTheDiskIsFull) {
  TestRepository test;
  SessionId id;
  {
    auto repository = test.open();
    id = write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  }
  auto full = std::make_unique<FaultyStorage>(test.disk());
  full->fail(Call::create, 1, OutOfSpace("no space left"));
  auto repository = test.open_through(std::move(full));

  forget(repository, id);

  EXPECT_FALSE(test.disk().size(kReserveName));
  EXPECT_TRUE(repository.snapshots(at_hour(600)).snapshots.empty());
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

TEST(Prune, WritesADamagedReserveAndAConfigCopyAnew) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  const MemoryStorage whole = test.disk();
  for (const auto name : {kConfigName, kSecondConfigName}) {
    for (const bool is_lost : {false, true}) {
      if (is_lost) {
        test.disk().remove(name);
      } else {
        test.disk().flip_bit(name, 40, 1);
      }
      test.disk().flip_bit(kReserveName, 40, 1);

      (void)prune_all(repository);

      const auto read = [&](const Storage& storage, std::string_view object) {
        return get_whole(storage, object, std::uint64_t{2} << 20);
      };
      EXPECT_EQ(read(test.disk(), name), read(whole, name));
      const auto reserve = read(test.disk(), kReserveName);
      const auto digest = crypto::sha256(
          std::span(reserve).first(reserve.size() - crypto::kDigestBytes));
      EXPECT_TRUE(std::ranges::equal(
          digest, std::span(reserve).last(crypto::kDigestBytes)));
    }
  }
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
