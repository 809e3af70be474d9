#include "repo/witness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <variant>

#include "repo/epoch.h"
#include "repo/forget.h"
#include "repo/generation_object.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::bytes_of;
using testing_support::Files;
using testing_support::MemoryStorage;
using testing_support::StateWriter;
using testing_support::TempFolder;
using testing_support::TestRepository;
using testing_support::write_snapshot;
using testing_support::WriterOptions;

Snapshot snapshot_of(Repository& repository, const SessionId& id) {
  return std::get<Snapshot>(
      read_slot(repository.storage(), repository.keyring(), id));
}

// What a host that looked now would remember.
LastSeen look(Repository& repository) {
  LastSeen last;
  last.note(newest_epoch(repository.storage(), repository.keyring()));
  for (const auto& valid : repository.snapshots(at_hour(1000)).snapshots) {
    last.note(seen(valid.snapshot));
  }
  return last;
}

// A repository with one host, at work in one series.
class Rollback : public ::testing::Test {
 protected:
  SessionId back_up(const std::string& text) {
    return write_snapshot(repository, Files{{"file", bytes_of(text)}},
                          at_hour(++hour));
  }
  void forget(const SessionId& id) {
    (void)forget_snapshot(repository, id, "test", at_hour(500));
  }
  // Two epochs, since something is forgotten.
  void prune_all() {
    (void)prune(repository, {}, at_hour(1000), {}, {}, nullptr);
  }
  void add_epochs() {
    forget(back_up("to be forgotten " + std::to_string(hour)));
    prune_all();
  }
  std::uint64_t newest() {
    return newest_epoch(repository.storage(), repository.keyring()).number;
  }
  Comparison compared(const LastSeen& last) {
    return compare(repository.storage(), repository.keyring(), last);
  }
  bool shows_less(const LastSeen& last) { return compared(last).shows_less(); }

  TestRepository site;
  Repository repository = site.open();
  std::int64_t hour = 0;
};

TEST_F(Rollback, AStateThatWasSeenOrALaterOneIsNone) {
  EXPECT_FALSE(shows_less({}));
  back_up("one");
  const LastSeen first = look(repository);
  EXPECT_FALSE(shows_less(first));
  add_epochs();
  back_up("two");
  EXPECT_FALSE(shows_less(first));
  EXPECT_FALSE(shows_less({}));
  EXPECT_FALSE(shows_less(look(repository)));
}

// Else a storage could have new data sealed with keys that a thief kept.
TEST_F(Rollback, KeysOfAnEarlierGenerationAreNoticed) {
  LastSeen last = look(repository);
  last.note_generation(1);
  EXPECT_FALSE(shows_less(last));
  last.note_generation(2);
  EXPECT_EQ(compared(last).lost_generation, 2U);
  // Somebody renews them while this process works.
  const auto keyring = site.keyring().for_role(Role::owner);
  for (const auto& name : generation_names(2)) {
    (void)site.disk().create(name,
                             sign_generation({2, at_hour(1), {}}, keyring));
  }
  EXPECT_FALSE(shows_less(last));
}

TEST_F(Rollback, EveryEarlierStateIsNoticed) {
  std::vector<MemoryStorage> states;
  const auto keep = [&] { states.push_back(site.disk()); };
  keep();
  back_up("one");
  keep();
  const auto gone = back_up("two");
  keep();
  back_up("three");
  keep();
  forget(gone);
  prune_all();
  back_up("four");
  const LastSeen last = look(repository);
  EXPECT_FALSE(shows_less(last));
  for (std::size_t i = 0; i < states.size(); ++i) {
    site.disk() = states[i];
    auto rolled_back = site.open();
    const auto comparison =
        compare(rolled_back.storage(), rolled_back.keyring(), last);
    EXPECT_EQ(comparison.lost.size(), 1U) << i;
    ASSERT_TRUE(comparison.lost_epoch) << i;
    EXPECT_EQ(comparison.lost_epoch->number, 2U);
    EXPECT_EQ(comparison.newest.number, 0U);
  }
}

TEST_F(Rollback, ASnapshotThatIsForgottenIsNotLost) {
  const auto id = back_up("one");
  const LastSeen last = look(repository);
  forget(id);
  EXPECT_FALSE(shows_less(last));
  // As a prune that was killed before the mark leaves it.
  site.disk().remove(snapshot_name(id));
  const auto comparison = compared(last);
  EXPECT_FALSE(comparison.shows_less());
  EXPECT_EQ(comparison.settled, std::vector{id});
}

TEST_F(Rollback, ASnapshotThatADoomSettledIsNotLost) {
  const auto id = back_up("one");
  back_up("two");
  LastSeen last;
  last.note(seen(snapshot_of(repository, id)));
  forget(id);
  prune_all();
  ASSERT_FALSE(site.disk().size(snapshot_name(id)));
  ASSERT_TRUE(list_marks(site.disk()).empty());
  EXPECT_EQ(compared(last).settled, std::vector{id});

  for (int i = 0; i < 4; ++i) add_epochs();
  ASSERT_FALSE(site.disk().size(epoch_name(2)));
  EXPECT_EQ(compared(last).settled, std::vector{id});
}

// Which of the two it was, nobody can tell then.
TEST_F(Rollback, WhatADamagedEpochMayExplainIsNotLost) {
  const auto id = back_up("one");
  back_up("two");
  const LastSeen before = look(repository);
  LastSeen last;
  last.note(seen(snapshot_of(repository, id)));
  forget(id);
  prune_all();
  const LastSeen after = look(repository);
  site.disk().flip_bit(epoch_name(2), 100, 1);
  for (const auto& memory : {before, last, after}) {
    const auto comparison = compared(memory);
    EXPECT_FALSE(comparison.shows_less());
    EXPECT_TRUE(comparison.settled.empty());
  }
  // And the next prune writes beyond it.
  add_epochs();
  for (const auto& memory : {before, last, after}) {
    EXPECT_FALSE(shows_less(memory));
  }
}

TEST_F(Rollback, AnOpenPassOnADamagedDoomExplainsAsTheDoomDid) {
  const auto id = back_up("one");
  const auto kept = back_up("two");
  LastSeen last;
  last.note(seen(snapshot_of(repository, id)));
  forget(id);
  prune_all();
  Epoch condemnation;
  condemnation.number = newest() + 1;
  condemnation.snapshots = {kept};
  ASSERT_EQ(publish_epoch(site.disk(), site.keyring(), repository.signer(),
                          condemnation),
            Created::created);
  EXPECT_FALSE(shows_less(last));
  site.disk().flip_bit(epoch_name(2), 100, 1);
  EXPECT_FALSE(shows_less(last));
  site.disk().remove(epoch_name(2));
  EXPECT_FALSE(shows_less(last));
}

TEST_F(Rollback, WhatADoomListsAndIsGoneIsLost) {
  const auto id = back_up("one");
  add_epochs();
  const LastSeen last = look(repository);
  site.disk().remove(snapshot_name(id));
  const auto comparison = compared(last);
  ASSERT_EQ(comparison.lost.size(), 1U);
  EXPECT_EQ(comparison.lost[0].id, id);
  EXPECT_FALSE(comparison.lost_epoch);
}

TEST_F(Rollback, ASnapshotPinnedAfterADoomIsNotExplainedByIt) {
  add_epochs();
  const auto id = back_up("one");
  const LastSeen last = look(repository);
  site.disk().remove(snapshot_name(id));
  EXPECT_TRUE(shows_less(last));
}

TEST_F(Rollback, WhatADamagedMarkMayExplainIsNotLost) {
  const auto id = back_up("one");
  const LastSeen last = look(repository);
  forget(id);
  const auto mark = list_marks(site.disk()).at(0);
  site.disk().remove(snapshot_name(id));
  site.disk().flip_bit(mark_name(mark), 100, 1);
  EXPECT_FALSE(shows_less(last));
  site.disk().remove(mark_name(mark));
  EXPECT_TRUE(shows_less(last));
}

TEST_F(Rollback, ADamagedSlotIsNotLostAndATombstoneExplains) {
  const auto id = back_up("one");
  const LastSeen last = look(repository);
  site.disk().flip_bit(snapshot_name(id), 100, 1);
  EXPECT_FALSE(shows_less(last));
  EXPECT_TRUE(compared(last).settled.empty());
  site.disk().truncate(snapshot_name(id), 10);
  EXPECT_FALSE(shows_less(last));

  site.disk().remove(snapshot_name(id));
  ASSERT_EQ(publish_tombstone(site.disk(), site.keyring(), repository.signer(),
                              {.id = id, .time = at_hour(9), .reason = "test"}),
            Created::created);
  EXPECT_EQ(compared(last).settled, std::vector{id});
}

TEST_F(Rollback, AnotherSnapshotInItsSlotIsNoticed) {
  const auto id = back_up("one");
  const LastSeen last = look(repository);
  const Snapshot old = snapshot_of(repository, id);
  site.disk().remove(snapshot_name(id));
  SnapshotHeader header = old.header;
  header.logical_bytes += 1;
  ASSERT_EQ(publish_snapshot(site.disk(), site.keyring(), repository.signer(),
                             id, header, *old.record)
                .outcome,
            Created::created);
  EXPECT_TRUE(shows_less(last));
}

TEST_F(Rollback, ADamagedNewestEpochIsNoneAndAMissingOneIs) {
  back_up("one");
  add_epochs();
  add_epochs();
  const LastSeen last = look(repository);
  const auto whole = site.disk();
  site.disk().flip_bit(epoch_name(4), 100, 1);
  EXPECT_FALSE(shows_less(last));
  site.disk().flip_bit(epoch_name(3), 100, 1);
  EXPECT_FALSE(shows_less(last));

  site.disk() = whole;
  auto again = site.open();
  site.disk().remove(epoch_name(4));
  const auto comparison = compare(again.storage(), again.keyring(), last);
  ASSERT_TRUE(comparison.lost_epoch);
  EXPECT_EQ(comparison.lost_epoch->number, 4U);
  EXPECT_EQ(comparison.newest.number, 3U);
}

TEST_F(Rollback, AnotherEpochWithTheSameNumberIsNoticed) {
  back_up("one");
  add_epochs();
  const LastSeen last = look(repository);
  const Epoch doom = read_epoch(site.disk(), site.keyring(), 2);
  site.disk().remove(epoch_name(2));
  ASSERT_EQ(
      publish_epoch(site.disk(), site.keyring(), repository.signer(), doom),
      Created::created);
  const auto comparison = compared(last);
  ASSERT_TRUE(comparison.lost_epoch);
  EXPECT_EQ(comparison.newest.number, comparison.lost_epoch->number);
  EXPECT_TRUE(comparison.lost.empty());
}

TEST_F(Rollback, TwoHostsAndASessionThatWasFencedOffRaiseNone) {
  auto other = site.open_elsewhere(site.disk());
  const auto mine = back_up("mine");
  const auto theirs =
      write_snapshot(other, Files{{"file", bytes_of("theirs")}}, at_hour(7));
  const LastSeen first = look(repository);
  const LastSeen second = look(other);
  forget(mine);
  prune_all();
  (void)forget_snapshot(other, theirs, "test", at_hour(500));
  back_up("mine again");
  (void)prune(other, {}, at_hour(1000), {}, {}, nullptr);
  for (auto* const host : {&repository, &other}) {
    for (const auto& last : {first, second}) {
      EXPECT_FALSE(
          compare(host->storage(), host->keyring(), last).shows_less());
    }
  }
}

// What a witness of a host keeps.
class Memory : public Rollback {
 protected:
  Witness witness(const std::string& place = "here") {
    return {HostState(folder.path(), site.keyring().repository()), place};
  }
  Comparison look_as_witness(const std::string& place = "here") {
    Witness host = witness(place);
    auto comparison = host.compare(site.disk(), site.keyring());
    auto opened = site.open();
    opened.set_saw([&](const SeenSnapshot& snapshot) { host.saw(snapshot); });
    (void)opened.snapshots(at_hour(1000));
    host.remember();
    return comparison;
  }

  TempFolder folder;
};

TEST_F(Memory, OfAReaderIsEnoughAndLosingItAcceptsAll) {
  back_up("one");
  const auto old = site.disk();
  back_up("two");
  add_epochs();
  EXPECT_FALSE(look_as_witness().shows_less());
  site.disk() = old;
  EXPECT_TRUE(look_as_witness().shows_less());
  // Looking is no accepting.
  EXPECT_TRUE(look_as_witness().shows_less());
  std::filesystem::remove_all(folder.path());
  EXPECT_FALSE(look_as_witness().shows_less());
}

TEST_F(Memory, IsThatOfTheAcceptedStateFromThenOn) {
  const auto empty = site.disk();
  back_up("one");
  const auto old = site.disk();
  back_up("two");
  add_epochs();
  (void)look_as_witness();
  const auto later = site.disk();
  site.disk() = old;
  {
    Witness host = witness();
    const auto comparison = host.compare(site.disk(), site.keyring());
    ASSERT_TRUE(comparison.shows_less());
    host.accept(comparison);
    host.remember();
  }
  EXPECT_FALSE(look_as_witness().shows_less());
  site.disk() = empty;
  EXPECT_TRUE(look_as_witness().shows_less());
  site.disk() = later;
  EXPECT_FALSE(look_as_witness().shows_less());
}

TEST_F(Memory, BelongsToAPlace) {
  back_up("one");
  const auto copy = site.disk();
  back_up("two");
  (void)look_as_witness("here");
  const auto original = site.disk();
  site.disk() = copy;
  const auto told =
      witness("a copy").compare_with_other_places(site.disk(), site.keyring());
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->shows_less());
  EXPECT_FALSE(look_as_witness("a copy").shows_less());
  // Both are used from now on.
  EXPECT_FALSE(
      witness("a copy").compare_with_other_places(site.disk(), site.keyring()));
  site.disk() = original;
  EXPECT_FALSE(look_as_witness("here").shows_less());
  EXPECT_FALSE(witness("another").compare_with_other_places(site.disk(),
                                                            site.keyring()));
}

TEST_F(Memory, DropsWhatIsSettledSoThatALaterChainIsKnown) {
  const auto id = back_up("one");
  (void)look_as_witness();
  forget(id);
  prune_all();
  EXPECT_EQ(look_as_witness().settled, std::vector{id});
  EXPECT_TRUE(look_as_witness().settled.empty());
}

}  // namespace
}  // namespace cairn::repo
