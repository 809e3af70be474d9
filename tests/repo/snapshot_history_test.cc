#include "repo/snapshot_history.h"

#include <gtest/gtest.h>

#include <map>

#include "repo/error.h"

namespace cairn::repo {
namespace {

SessionId id_of(unsigned char digit) {
  SessionId id;
  id.bytes[0] = std::byte{digit};
  return id;
}

class History : public ::testing::Test {
 protected:
  SnapshotHistory history(std::vector<SnapshotClaim> claims) {
    const auto verify = [this](const SnapshotClaim& claim) {
      verified_.push_back(claim.id);
      const auto fault = faults_.find(claim.id);
      if (fault != faults_.end()) fault->second();
      return ValidSnapshot{{claim.id, claim.header, {}, {}}, {}};
    };
    return {std::move(claims), verify,
            [this](const std::string& what) { damage_.push_back(what); }};
  }

  static SnapshotClaim claim(unsigned char digit, std::int64_t seconds) {
    SnapshotHeader header;
    header.time = {seconds, 0};
    return {id_of(digit), header};
  }

  std::map<SessionId, std::function<void()>> faults_;
  std::vector<SessionId> verified_;
  std::vector<std::string> damage_;
};

TEST_F(History, GoesFromTheNewestOnThenById) {
  const auto snapshots =
      history({claim(1, 10), claim(4, 30), claim(3, 20), claim(2, 20)});

  std::vector<SessionId> ids;
  for (const auto& claim : snapshots.claims()) ids.push_back(claim.id);
  EXPECT_EQ(ids, (std::vector{id_of(4), id_of(3), id_of(2), id_of(1)}));
  EXPECT_TRUE(verified_.empty());
}

TEST_F(History, VerifiesEachOnceAndOnlyWhenItIsReached) {
  auto snapshots = history({claim(1, 10), claim(2, 20), claim(3, 30)});

  for (int times = 0; times < 2; ++times) {
    const auto* const newest = snapshots.find_valid(0);
    ASSERT_NE(newest, nullptr);
    EXPECT_EQ(newest->snapshot.id, id_of(3));
  }
  EXPECT_EQ(verified_, std::vector{id_of(3)});
}

TEST_F(History, NotesWhatDoesNotCountOnceAndPassesOverIt) {
  faults_[id_of(3)] = [] { throw CorruptionError("forged"); };
  faults_[id_of(2)] = [] { throw UnsupportedFormat("newer"); };
  faults_[id_of(1)] = [] { throw NotFound("pruned"); };
  auto snapshots = history({claim(1, 10), claim(2, 20), claim(3, 30)});

  for (int times = 0; times < 2; ++times) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(snapshots.find_valid(i), nullptr);
    }
  }
  EXPECT_EQ(damage_, (std::vector<std::string>{"forged", "newer"}));
}

TEST_F(History, AFailureOfTheStorageIsNoAnswer) {
  faults_[id_of(1)] = [] { throw IoError("cable"); };
  auto snapshots = history({claim(1, 10)});

  EXPECT_THROW((void)snapshots.find_valid(0), IoError);
  EXPECT_THROW((void)snapshots.find_valid(0), IoError);
  faults_.clear();
  EXPECT_NE(snapshots.find_valid(0), nullptr);
}

TEST_F(History, AllAreThoseThatCountOldestFirst) {
  faults_[id_of(2)] = [] { throw CorruptionError("forged"); };
  auto snapshots = history({claim(3, 30), claim(1, 10), claim(2, 20)});
  const auto* const newest = snapshots.find_valid(0);

  const auto all = snapshots.all();

  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0]->snapshot.id, id_of(1));
  EXPECT_EQ(all[1], newest);
  EXPECT_EQ(damage_.size(), 1U);
}

}  // namespace
}  // namespace cairn::repo
