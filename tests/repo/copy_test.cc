#include "repo/copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "repo/check.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/repair_packs.h"
#include "repo/repair_snapshots.h"
#include "repo/session.h"
#include "tests/repo/damaged_repository.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::ChunksByPath;
using testing_support::content_packs;
using testing_support::CutFalls;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::hurt_first_blob;
using testing_support::noise;
using testing_support::ObservedStorage;
using testing_support::PowerCut;
using testing_support::prune_whole;
using testing_support::read_all_snapshots;
using testing_support::store_false_copy;
using testing_support::TestRepository;
using testing_support::write_snapshot;

enum class Kin { sister, stranger };

// Three states of a few files, of which one has enough chunks for a list, and
// an empty repository beside them.
struct Two {
  explicit Two(Kin kin)
      : to(kin == Kin::sister ? Keyring::create_like(from.keyring())
                              : Keyring::create()) {
    auto repository = from.open();
    ChunksByPath bases;
    FilesOptions chained;
    chained.bases = &bases;
    Files files{{"db", noise(1, 60'000)},
                {"folder/a", noise(2, 3'000)},
                {"folder/inner/b", noise(3, 5'000)},
                {"folder/none", {}}};
    for (int state = 0; state < 3; ++state) {
      states.push_back(files);
      (void)write_snapshot(repository, files, at_hour(state), chained);
      files["db"][static_cast<std::size_t>(state) * 5000] ^= std::byte{1};
      files["folder/new " + std::to_string(state)] = noise(9, 100);
    }
  }

  CopyReport copy() {
    auto source = from.open();
    auto target = to.open();
    return copy(source, target);
  }

  static CopyReport copy(Repository& source, Repository& target) {
    const auto list = source.snapshots(at_hour(5));
    return copy_snapshots(
        source, target, list.snapshots,
        {.clock = [] { return at_hour(6); }, .carry = Carry::out}, {}, {},
        nullptr);
  }

  // What lies there, by time.
  std::vector<Files> copies() {
    to.forget_cache();
    auto target = to.open();
    std::vector<Files> all;
    const auto by_id = read_all_snapshots(target);
    for (const auto& [snapshot, holds] :
         target.snapshots(at_hour(7)).snapshots) {
      all.push_back(by_id.at(snapshot.id));
    }
    return all;
  }

  void expect_sound_there() {
    auto target = to.open();
    const auto report = check(
        target, {.level = CheckLevel::data, .now = at_hour(9)}, {}, nullptr);
    EXPECT_EQ(report.count(Severity::damage), 0U)
        << (report.findings.empty() ? "" : report.findings.front().message);
  }

  TestRepository from;
  TestRepository to;
  std::vector<Files> states;
};

class CopyTo : public testing::TestWithParam<Kin> {};
INSTANTIATE_TEST_SUITE_P(Kin, CopyTo,
                         testing::Values(Kin::sister, Kin::stranger),
                         [](const auto& kin) {
                           return kin.param == Kin::sister ? "Sister"
                                                           : "Stranger";
                         });

TEST_P(CopyTo, BringsWhatIsThereOnce) {
  Two two(GetParam());
  const auto report = two.copy();
  EXPECT_EQ(report.are_sisters, GetParam() == Kin::sister);
  ASSERT_EQ(report.snapshots.size(), 3U);
  for (const auto& one : report.snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::copied) << one.why;
  }
  EXPECT_EQ(two.copies(), two.states);
  two.expect_sound_there();

  for (const auto& one : two.copy().snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::was_there);
  }
  EXPECT_EQ(two.copies(), two.states);
}

// Two at once on one host: the other one does all of it at any write of this
// one, but for its commit, before which this one looks again.
TEST_P(CopyTo, BringsNothingThatAnotherOneBringsAtTheSameTime) {
  bool finished = false;
  for (int write = 0; !finished; ++write) {
    SCOPED_TRACE("the other one copies at write " + std::to_string(write));
    Two two(GetParam());
    ObservedStorage observed(two.to.disk());
    int writes = 0;
    observed.before_write = [&](std::string_view name) {
      if (name.starts_with("snapshots/") || writes++ != write) return;
      (void)two.copy();
    };
    auto source = two.from.open();
    auto target =
        two.to.open_through(std::make_unique<FaultyStorage>(observed));

    (void)two.copy(source, target);

    EXPECT_EQ(two.copies(), two.states);
    finished = writes <= write;
    if (HasFailure()) return;
  }
}

TEST_P(CopyTo, KeepsWhatASnapshotSaysOfItself) {
  Two two(GetParam());
  (void)two.copy();
  auto source = two.from.open();
  auto target = two.to.open();
  const auto mine = source.snapshots(at_hour(7)).snapshots;
  const auto theirs = target.snapshots(at_hour(7)).snapshots;
  ASSERT_EQ(mine.size(), theirs.size());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const Snapshot& one = mine[i].snapshot;
    const Snapshot& copy = theirs[i].snapshot;
    EXPECT_EQ(copy.header.time, one.header.time);
    EXPECT_EQ(copy.header.arrival, at_hour(6));
    EXPECT_EQ(copy.header.logical_bytes, one.header.logical_bytes);
    EXPECT_EQ(copy.header.entries, one.header.entries);
    EXPECT_EQ(copy.header.is_complete, one.header.is_complete);
    EXPECT_EQ(copy.header.sequence, i);
    auto record = *one.record;
    record.origin = SnapshotOrigin{source.keyring().repository(), one.id};
    EXPECT_EQ(copy.record, record);
  }
}

TEST_P(CopyTo, KnowsACopyOfACopy) {
  Two two(GetParam());
  (void)two.copy();
  auto source = two.from.open();
  auto target = two.to.open();
  for (const auto& one : Two::copy(target, source).snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::was_there);
  }
  TestRepository third;
  auto last = third.open();
  (void)Two::copy(target, last);
  for (const auto& one : Two::copy(source, last).snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::was_there);
  }
}

TEST(CopyToASister, KnowsACopyOfACopyThatAStrangerHad) {
  Two two(Kin::sister);
  auto source = two.from.open();
  TestRepository stranger;
  auto between = stranger.open();
  (void)Two::copy(source, between);
  auto target = two.to.open();
  (void)Two::copy(between, target);
  for (const auto& one : Two::copy(source, target).snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::was_there);
  }
}

// The copies at the target come to harm, are made anew without what is lost,
// and are forgotten. Answers those that take their places.
std::vector<SessionId> repair_copies(Two& two) {
  hurt_first_blob(two.to, content_packs(two.to).front());
  {
    auto target = two.to.open();
    PackRepairOptions packs;
    packs.now = at_hour(7);
    (void)repair_packs(target, packs, {}, nullptr);
  }
  auto target = two.to.open();
  const auto repaired = repair_snapshots(
      target, {.clock = [] { return at_hour(7); }, .carry = Carry::out}, {},
      nullptr);
  std::vector<SessionId> made;
  for (const auto& one : repaired.snapshots) {
    made.push_back(one.made.value());
    (void)forget_snapshot(target, one.source, "test", at_hour(8));
  }
  prune_whole(target);
  return made;
}

void expect_each_state_there(Two& two) {
  const auto copies = two.copies();
  for (const auto& state : two.states) {
    EXPECT_EQ(std::ranges::count(copies, state), 1);
  }
}

std::size_t count(const CopyReport& report, CopyOutcome outcome) {
  return static_cast<std::size_t>(
      std::ranges::count(report.snapshots, outcome, &CopiedSnapshot::outcome));
}

TEST_P(CopyTo, TakesNoRepairedOneForTheWholeOne) {
  Two two(GetParam());
  (void)two.copy();
  const auto repaired = repair_copies(two);
  ASSERT_FALSE(repaired.empty());

  EXPECT_EQ(count(two.copy(), CopyOutcome::copied), repaired.size());

  expect_each_state_there(two);
  two.expect_sound_there();
  EXPECT_EQ(count(two.copy(), CopyOutcome::was_there), two.states.size());
  // Both go on to a third one, once.
  auto target = two.to.open();
  TestRepository third;
  auto last = third.open();
  const auto all = two.states.size() + repaired.size();
  EXPECT_EQ(count(Two::copy(target, last), CopyOutcome::copied), all);
  EXPECT_EQ(count(Two::copy(target, last), CopyOutcome::was_there), all);
  auto source = two.from.open();
  EXPECT_EQ(count(Two::copy(source, last), CopyOutcome::was_there),
            two.states.size());
}

// As programs made it before: with the origin of what it was made from.
TEST_P(CopyTo, TakesNoRepairedOneThatKeptItsOriginForTheWholeOne) {
  Two two(GetParam());
  (void)two.copy();
  auto target = two.to.open();
  std::map<SessionId, SnapshotOrigin> origins;
  for (const auto& valid : target.snapshots(at_hour(7)).snapshots) {
    origins.emplace(valid.snapshot.id, *valid.snapshot.record->origin);
  }
  const auto repaired = repair_copies(two);
  ASSERT_FALSE(repaired.empty());
  for (const auto& valid : target.snapshots(at_hour(8)).snapshots) {
    if (!valid.snapshot.record->repaired_from) continue;
    Session session(target.storage(), target.keyring(), target.signer(),
                    at_hour(8));
    auto header = valid.snapshot.header;
    header.epoch = session.epoch().number;
    auto record = *valid.snapshot.record;
    record.origin = origins.at(*record.repaired_from);
    (void)publish_snapshot(target.storage(), target.keyring(), target.signer(),
                           session.id(), header, record);
    session.end();
    (void)forget_snapshot(target, valid, "test", at_hour(8));
  }

  EXPECT_EQ(count(two.copy(), CopyOutcome::copied), repaired.size());

  expect_each_state_there(two);
  EXPECT_EQ(count(two.copy(), CopyOutcome::was_there), two.states.size());
  // Both go on to a third one, once.
  TestRepository third;
  auto last = third.open();
  const auto all = two.states.size() + repaired.size();
  EXPECT_EQ(count(Two::copy(target, last), CopyOutcome::copied), all);
  EXPECT_EQ(count(Two::copy(target, last), CopyOutcome::was_there), all);
}

TEST_P(CopyTo, LeavesOutWhatCannotBeReadWhole) {
  Two two(GetParam());
  auto source = two.from.open();
  const auto last =
      write_snapshot(source, {{"other", noise(8, 5'000)}}, at_hour(4));
  // The first state's contents, on which the next two lean.
  for (const auto& pack : list_packs(two.from.disk())) {
    const auto rows =
        read_pack_directory(two.from.disk(), two.from.keyring(), pack.id)
            .pack.directory.rows;
    if (rows.front().kind == BlobKind::content && rows.size() > 10) {
      two.from.disk().flip_bit(pack_name(pack.id), kPackHeadBytes + 9, 0);
    }
  }

  const auto report = two.copy();

  std::size_t failed = 0;
  for (const auto& one : report.snapshots) {
    failed += one.outcome == CopyOutcome::failed ? 1 : 0;
    if (one.source == last) {
      EXPECT_EQ(one.outcome, CopyOutcome::copied);
    }
  }
  EXPECT_GT(failed, 0U);
  EXPECT_EQ(two.copies().size(), 4 - failed);
  two.expect_sound_there();
}

TEST_P(CopyTo, LosesNothingWhicheverWriteThePowerCutHits) {
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; writes += 4) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      Two two(GetParam());
      {
        auto source = two.from.open();
        auto target = two.to.open_through(
            std::make_unique<PowerCut>(two.to.disk(), writes, falls));
        try {
          (void)Two::copy(source, target);
          finished = true;
        } catch (const IoError&) {
        }
      }
      two.to.let_processes_die();
      two.to.forget_cache();
      two.expect_sound_there();
      (void)two.copy();
      EXPECT_EQ(two.copies(), two.states);
      two.expect_sound_there();
      if (HasFailure()) return;
    }
  }
}

TEST_P(CopyTo, RestsOnNothingThatAPruneTookMeanwhile) {
  Two two(GetParam());
  auto target = two.to.open();
  (void)two.copy();
  // All of it goes, but for the condemned packs that are there still.
  for (const auto& valid : target.snapshots(at_hour(7)).snapshots) {
    (void)forget_snapshot(target, valid, "test", at_hour(7));
  }
  PruneOptions options;
  options.max_unused = 0;
  options.trash = std::chrono::hours(24);
  (void)prune(target, options, at_hour(7), {}, {}, nullptr);
  ASSERT_FALSE(list_packs(two.to.disk()).empty());

  for (const auto& one : two.copy().snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::copied);
  }

  options.trash = std::chrono::seconds(0);
  (void)prune(target, options, at_hour(8), {}, {}, nullptr);
  EXPECT_EQ(two.copies(), two.states);
  two.expect_sound_there();
}

TEST(CopyToASister, MovesDifferencesAsTheyAre) {
  Two two(Kin::sister);
  (void)two.copy();
  const auto rows_of = [](TestRepository& test) {
    std::map<BlobId, BlobRow> rows;
    for (const auto& pack : list_packs(test.disk())) {
      for (auto row : read_pack_directory(test.disk(), test.keyring(), pack.id)
                          .pack.directory.rows) {
        row.key = 0;
        rows.emplace(row.id, row);
      }
    }
    return rows;
  };
  EXPECT_EQ(rows_of(two.to), rows_of(two.from));
}

TEST(CopyToASister, BelievesNoFalseCopy) {
  Two two(Kin::sister);
  auto source = two.from.open();
  const auto pack = list_packs(two.from.disk());
  for (const auto& one : pack) {
    const auto row =
        read_pack_directory(two.from.disk(), two.from.keyring(), one.id)
            .pack.directory.rows.front();
    if (row.kind != BlobKind::content || row.base) continue;
    (void)store_false_copy(source, row.kind, row.id, noise(7, row.plain_size));
  }

  (void)two.copy();

  EXPECT_EQ(two.copies(), two.states);
  two.expect_sound_there();
}

TEST(CopyToASister, IsDoneWithAWriteKeyOnce) {
  Two two(Kin::sister);
  const auto key = two.to.add_key(Role::write);
  auto source = two.from.open();
  auto target = two.to.open_with(key);
  for (const auto& one : Two::copy(source, target).snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::copied);
  }
  for (const auto& one : Two::copy(source, target).snapshots) {
    EXPECT_EQ(one.outcome, CopyOutcome::was_there);
  }
  EXPECT_EQ(two.copies(), two.states);
  two.expect_sound_there();
}

// Two states of one size at one time, as of a stream with a given time.
struct Alike : Two {
  explicit Alike(Kin kin) : Two(kin), key(to.add_key(Role::write)) {
    auto repository = from.open();
    for (const std::uint64_t seed : {21U, 22U}) {
      states.push_back({{"img", noise(seed, 9'000)}});
      alike.push_back(write_snapshot(repository, states.back(), at_hour(4)));
    }
  }

  CopyReport copy_with_write_key() {
    auto source = from.open();
    auto target = to.open_with(key);
    return Two::copy(source, target);
  }

  CopyReport copy_one(const SessionId& id, Carry carry = Carry::out) {
    auto source = from.open();
    auto target = to.open_with(key);
    auto list = source.snapshots(at_hour(5)).snapshots;
    std::erase_if(list, [&](const ValidSnapshot& valid) {
      return valid.snapshot.id != id;
    });
    return copy_snapshots(source, target, list,
                          {.clock = [] { return at_hour(6); }, .carry = carry},
                          {}, {}, nullptr);
  }

  void expect_each_there_once() {
    const auto all = copies();
    EXPECT_EQ(all.size(), states.size());
    for (const auto& state : states) {
      EXPECT_EQ(std::ranges::count(all, state), 1);
    }
  }

  decltype(std::declval<TestRepository>().add_key(Role::write)) key;
  std::vector<SessionId> alike;
};

TEST_P(CopyTo, BringsBothOfTwoThatLookAlikeToAWriteKey) {
  Alike two(GetParam());
  EXPECT_EQ(count(two.copy_with_write_key(), CopyOutcome::copied), 5U);
  two.expect_each_there_once();

  const auto again = two.copy_with_write_key();

  EXPECT_EQ(count(again, CopyOutcome::was_there), 5U);
  std::set<SessionId> targets;
  for (const auto& one : again.snapshots) targets.insert(one.target.value());
  EXPECT_EQ(targets.size(), 5U);
  const auto by_header = static_cast<std::size_t>(std::ranges::count(
      again.snapshots, ToldBy::header, &CopiedSnapshot::told_by));
  EXPECT_EQ(by_header, GetParam() == Kin::sister ? 0U : 3U);
  two.expect_each_there_once();
  two.expect_sound_there();
}

TEST_P(CopyTo, TakesNeitherOfTwoThatLookAlikeForTheOtherThatIsThere) {
  for (const std::size_t first : {0U, 1U}) {
    Alike two(GetParam());
    EXPECT_EQ(count(two.copy_one(two.alike.at(first)), CopyOutcome::copied),
              1U);
    EXPECT_EQ(count(two.copy_one(two.alike.at(1 - first)), CopyOutcome::copied),
              1U);
    EXPECT_EQ(count(two.copy_with_write_key(), CopyOutcome::copied), 3U);
    two.expect_each_there_once();
  }
}

TEST_P(CopyTo, PlansWhatItWouldDoWithTwoThatLookAlike) {
  Alike two(GetParam());
  (void)two.copy_with_write_key();
  for (const auto& id : two.alike) {
    EXPECT_EQ(count(two.copy_one(id, Carry::plan_only), CopyOutcome::was_there),
              1U);
  }
}

TEST(Copy, NeedsAKeyThatReads) {
  Two two(Kin::sister);
  auto target = two.to.open();
  for (const auto role : {Role::list, Role::maintain, Role::write}) {
    auto source = two.from.open_as(role);
    EXPECT_THROW((void)Two::copy(source, target), WrongKey);
  }
  EXPECT_TRUE(target.snapshots(at_hour(7)).snapshots.empty());
  EXPECT_TRUE(read_sessions(two.to.disk(), two.to.keyring()).empty());
}

TEST(Copy, IsNotDoneIntoItself) {
  Two two(Kin::sister);
  auto source = two.from.open();
  auto itself = two.from.open();
  EXPECT_THROW((void)Two::copy(source, itself), std::invalid_argument);
}

}  // namespace
}  // namespace cairn::repo
