#include "repo/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "repo/forget.h"
#include "repo/prune.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::bytes_of;
using testing_support::Files;
using testing_support::TestRepository;
using testing_support::write_snapshot;
using testing_support::WriterOptions;

using Codes = std::vector<std::string>;

class Audit : public ::testing::Test {
 protected:
  SessionId back_up(const std::string& series = "host/files") {
    ++hour;
    return write_snapshot(
        repository, Files{{"file", bytes_of("state " + std::to_string(hour))}},
        at_hour(hour), {.writer = WriterOptions{.series = series}});
  }
  void forget(const SessionId& id) {
    (void)forget_snapshot(repository, id, "test", at_hour(500));
  }
  void prune_all() {
    (void)prune(repository, {}, at_hour(1000), {}, {}, nullptr);
  }
  void lose(const SessionId& id) { site.disk().remove(snapshot_name(id)); }

  // A snapshot made by hand, in the slot of another.
  void rewrite(const SessionId& id, std::uint64_t sequence,
               const crypto::Digest& previous) {
    auto snapshot = snapshot_of(id);
    lose(id);
    snapshot.header.sequence = sequence;
    snapshot.header.previous = previous;
    ASSERT_EQ(publish_snapshot(site.disk(), site.keyring(), repository.signer(),
                               id, snapshot.header, *snapshot.record)
                  .outcome,
              Created::created);
  }
  Snapshot snapshot_of(const SessionId& id) {
    return std::get<Snapshot>(read_slot(site.disk(), site.keyring(), id));
  }

  // Of all findings, damage first.
  CheckReport report() {
    FindingList findings;
    const auto trail = read_audit_trail(site.disk(), site.keyring(), findings);
    others = verify_other_signatures(site.disk(), site.keyring(), findings);
    find_gaps(trail, findings);
    CheckReport all;
    findings.move_to(all);
    return all;
  }
  Codes codes() {
    Codes codes;
    for (const auto& finding : report().findings) {
      codes.emplace_back(finding.code);
    }
    return codes;
  }

  TestRepository site;
  Repository repository = site.open();
  std::int64_t hour = 0;
  std::uint64_t others = 0;
};

TEST_F(Audit, AnHonestHistoryHasNoGap) {
  EXPECT_EQ(codes(), Codes{});
  back_up();
  const auto forgotten = back_up();
  back_up("host/other");
  back_up();
  EXPECT_EQ(codes(), Codes{});
  forget(forgotten);
  EXPECT_EQ(codes(), Codes{});
  EXPECT_GT(others, 0U);
}

TEST_F(Audit, ADoomExplainsWhatItSettled) {
  back_up();
  const auto forgotten = back_up();
  back_up();
  forget(forgotten);
  prune_all();
  EXPECT_EQ(codes(), Codes{"explained-gap"});
  EXPECT_EQ(report().count(Severity::damage), 0U);
  for (int i = 0; i < 4; ++i) {
    forget(back_up());
    prune_all();
  }
  EXPECT_EQ(report().count(Severity::damage), 0U);
}

TEST_F(Audit, ADoomExplainsABeginningThatIsGone) {
  forget(back_up());
  back_up();
  prune_all();
  EXPECT_EQ(codes(), Codes{"explained-gap"});
}

TEST_F(Audit, WithoutAnyDoomEachGapIsTold) {
  const auto first = back_up();
  const auto second = back_up();
  back_up();
  lose(second);
  EXPECT_EQ(codes(), Codes{"gap"});
  lose(first);
  const auto all = report();
  ASSERT_EQ(all.findings.size(), 1U);
  EXPECT_NE(all.findings[0].message.find("numbers 0 to 1 are missing"),
            std::string::npos);
}

TEST_F(Audit, ADoomExplainsNothingThatWasCommittedAfterIt) {
  forget(back_up());
  back_up();
  prune_all();
  back_up();
  const auto gone = back_up();
  back_up();
  lose(gone);
  EXPECT_EQ(codes(), (Codes{"gap", "explained-gap"}));
}

TEST_F(Audit, WhatTheNewestEpochListsMustBeThere) {
  forget(back_up());
  const auto listed = back_up();
  back_up();
  prune_all();
  lose(listed);
  const auto all = report();
  EXPECT_EQ(all.count(Severity::damage), 1U);
  EXPECT_EQ(all.findings[0].code, "lost-snapshot");
  EXPECT_EQ(all.findings[0].object, snapshot_name(listed));

  ASSERT_EQ(
      publish_tombstone(site.disk(), site.keyring(), repository.signer(),
                        {.id = listed, .time = at_hour(9), .reason = "test"}),
      Created::created);
  EXPECT_EQ(report().findings[0].code, "lost-snapshot");
}

TEST_F(Audit, AForgetMarkExplainsAsManyGapsAsThereAreMarks) {
  back_up();
  const auto second = back_up();
  back_up();
  const auto third = back_up();
  back_up();
  forget(second);
  lose(second);
  EXPECT_EQ(codes(), Codes{"explained-gap"});
  lose(third);
  EXPECT_EQ(codes(), (Codes{"gap", "explained-gap"}));
}

TEST_F(Audit, ADamagedSlotIsDamageAndNoGap) {
  back_up();
  const auto damaged = back_up();
  back_up();
  site.disk().flip_bit(snapshot_name(damaged), 100, 1);
  EXPECT_EQ(codes(), (Codes{"damaged-snapshot", "explained-gap"}));
}

TEST_F(Audit, TwoSnapshotsWithOneNumberAreAFork) {
  back_up();
  rewrite(back_up(), 0, {});
  EXPECT_EQ(codes(), Codes{"fork"});
}

TEST_F(Audit, APredecessorThatDoesNotFitIsTold) {
  const auto first = back_up();
  const auto second = back_up();
  rewrite(second, 1, crypto::Digest{std::byte{1}});
  EXPECT_EQ(codes(), Codes{"broken-chain"});
  rewrite(second, 1, snapshot_of(first).object);
  EXPECT_EQ(codes(), Codes{});
  rewrite(first, 0, crypto::Digest{std::byte{1}});
  EXPECT_EQ(codes(), (Codes{"broken-chain", "broken-chain"}));
}

// Its session took it for failed, and gave its number to the next.
TEST_F(Audit, AVoidSnapshotHasNoPlaceInAChain) {
  const auto late = back_up();
  const Snapshot snapshot = snapshot_of(late);
  forget(late);
  back_up();
  prune_all();
  ASSERT_FALSE(site.disk().size(snapshot_name(late)));
  (void)publish_snapshot(site.disk(), site.keyring(), repository.signer(), late,
                         snapshot.header, *snapshot.record);
  EXPECT_EQ(codes(), Codes{"explained-gap"});
}

TEST_F(Audit, EpochsFollowOneAnother) {
  for (int i = 0; i < 3; ++i) {
    back_up();
    forget(back_up());
    prune_all();
  }
  const auto whole = site.disk();
  EXPECT_EQ(report().count(Severity::damage), 0U);

  site.disk().remove(epoch_name(4));
  EXPECT_EQ(report().findings[0].code, "lost-epoch");

  site.disk() = whole;
  const Epoch doom = read_epoch(site.disk(), site.keyring(), 4);
  site.disk().remove(epoch_name(4));
  site.disk().remove(epoch_name(5));
  site.disk().remove(epoch_name(6));
  ASSERT_EQ(
      publish_epoch(site.disk(), site.keyring(), repository.signer(), doom),
      Created::created);
  for (const auto number : {5, 6}) {
    const std::string name = epoch_name(static_cast<std::uint64_t>(number));
    ASSERT_EQ(site.disk().create(name, get_whole(whole, name, kMaxEpochBytes)),
              Created::created);
  }
  EXPECT_EQ(report().findings[0].code, "broken-epochs");

  site.disk() = whole;
  site.disk().flip_bit(epoch_name(5), 100, 1);
  const auto all = report();
  EXPECT_EQ(all.count(Severity::damage), 1U);
  EXPECT_EQ(all.findings[0].code, "damaged-epoch");
}

TEST_F(Audit, ForgedAndDamagedObjectsAreDamage) {
  back_up();
  const auto mark = back_up();
  forget(mark);
  const auto marks = list_marks(site.disk());
  site.disk().flip_bit(mark_name(marks.at(0)), 60, 1);
  EXPECT_EQ(codes(), Codes{"damaged-mark"});
}

TEST_F(Audit, TwoHostsHaveTwoChains) {
  auto other = site.open_as(Role::write);
  back_up();
  (void)write_snapshot(other, Files{{"file", bytes_of("x")}}, at_hour(5));
  back_up();
  EXPECT_EQ(codes(), Codes{});
}

}  // namespace
}  // namespace cairn::repo
