#include "ingest/wal_spool.h"

#include <gtest/gtest.h>

#include <fstream>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::Bytes;
using testing_support::TempFolder;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr Lsn kStart{3 * kSegment};

class Spool : public ::testing::Test {
 protected:
  [[nodiscard]] fs::path path() const { return folder.path() / "spool"; }

  static Bytes bytes(std::size_t size, unsigned seed) {
    Bytes all(size);
    for (std::size_t i = 0; i < size; ++i) {
      all[i] = static_cast<std::byte>((i * 7 + seed) >> (i % 3));
    }
    return all;
  }

  static CommittedWal committed(Lsn start, Lsn end) {
    repo::Link list{repo::BlobKind::links, {}, end.value - start.value};
    list.id.bytes[0] = std::byte{9};
    CommittedWal wal{start, end, {}, {list}};
    wal.snapshot.bytes[3] = std::byte{5};
    return wal;
  }

  std::size_t segments() const {
    std::size_t count = 0;
    for (const auto& file : fs::recursive_directory_iterator(path())) {
      if (file.path().filename().string().size() == 24) ++count;
    }
    return count;
  }

  TempFolder folder;
};

TEST_F(Spool, WhatWasSyncedIsThereAgain) {
  const Bytes data = bytes(2 * kSegment + 12345, 1);
  {
    WalSpool spool(path(), kSegment);
    const auto run = spool.begin_run(2, kStart);
    run->write(data);
    EXPECT_EQ(run->durable_end(), kStart);
    run->sync();
  }
  WalSpool spool(path(), kSegment);
  ASSERT_EQ(spool.runs().size(), 1U);
  const auto run = spool.runs().front();
  EXPECT_EQ(run->timeline(), 2U);
  EXPECT_EQ(run->begin(), kStart);
  EXPECT_EQ(run->end().value, kStart.value + data.size());
  EXPECT_EQ(run->durable_end(), run->end());
  EXPECT_EQ(run->uncommitted_bytes(), data.size());
  Bytes back(data.size());
  run->read(kStart, back);
  EXPECT_EQ(back, data);
}

TEST_F(Spool, WhatWasNotSyncedCountsAsNotReceived) {
  for (const std::size_t synced : {std::size_t{0}, std::size_t{1000},
                                   std::size_t{kSegment}, kSegment + 7}) {
    fs::remove_all(path());
    {
      WalSpool spool(path(), kSegment);
      const auto run = spool.begin_run(1, kStart);
      run->write(bytes(synced, 1));
      run->sync();
      run->write(bytes(2 * kSegment, 2));  // then the process dies
    }
    WalSpool spool(path(), kSegment);
    const auto run = spool.runs().front();
    EXPECT_EQ(run->end().value, kStart.value + synced);
    // And what comes instead counts.
    run->write(bytes(2000, 3));
    run->sync();
    Bytes back(2000);
    run->read({kStart.value + synced}, back);
    EXPECT_EQ(back, bytes(2000, 3));
  }
}

TEST_F(Spool, OneTornRecordLeavesTheOther) {
  fs::path durable;
  {
    WalSpool spool(path(), kSegment);
    const auto run = spool.begin_run(1, kStart);
    for (int i = 1; i <= 3; ++i) {
      run->write(bytes(100, 1));
      run->sync();
    }
  }
  for (const auto& file : fs::recursive_directory_iterator(path())) {
    if (file.path().filename() == "durable") durable = file.path();
  }
  std::fstream file(durable, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 + 10);  // of the third: odd numbers lie there
  file.put('x');
  file.close();
  WalSpool spool(path(), kSegment);
  EXPECT_EQ(spool.runs().front()->end().value, kStart.value + 200);
}

TEST_F(Spool, CommittedSegmentsGoAndTheLastOneStays) {
  const Bytes data = bytes(2 * kSegment + 5000, 1);
  const Lsn stored{kStart.value + 2 * kSegment + 3000};
  {
    WalSpool spool(path(), kSegment);
    const auto run = spool.begin_run(1, kStart);
    run->write(data);
    run->sync();
    run->note_committed(committed(kStart, stored));
    EXPECT_EQ(segments(), 1U);
    EXPECT_EQ(run->uncommitted_bytes(), 2000U);
  }
  WalSpool spool(path(), kSegment);
  const auto run = spool.runs().front();
  EXPECT_EQ(run->committed(), committed(kStart, stored));
  EXPECT_EQ(run->begin().value, kStart.value + 2 * kSegment);
  EXPECT_EQ(run->uncommitted_bytes(), 2000U);

  // To the end of a segment nothing has to stay.
  run->write(bytes(kSegment - 5000, 1));
  run->sync();
  run->note_committed(committed(kStart, run->end()));
  EXPECT_EQ(segments(), 0U);
  EXPECT_EQ(run->begin(), run->end());
  run->forget_committed();
  EXPECT_EQ(run->committed(), std::nullopt);
  EXPECT_EQ(run->uncommitted_bytes(), 0U);
}

TEST_F(Spool, AfterACommitThatNobodyNotedWhatIsHeldIsAStreamOfItsOwn) {
  {
    WalSpool spool(path(), kSegment);
    const auto run = spool.begin_run(1, kStart);
    run->write(bytes(kSegment + 100, 1));
    run->sync();
    run->note_committed(committed(kStart, run->end()));
    run->forget_committed();
  }
  WalSpool spool(path(), kSegment);
  const auto run = spool.runs().front();
  EXPECT_EQ(run->begin().value, kStart.value + kSegment);
  EXPECT_EQ(run->uncommitted_bytes(), 100U);
}

TEST_F(Spool, OtherBytesAreFoundWhereTheyBegin) {
  WalSpool spool(path(), kSegment);
  const auto run = spool.begin_run(1, kStart);
  Bytes data = bytes(kSegment + 100, 1);
  run->write(data);
  EXPECT_EQ(run->first_difference(kStart, data), std::nullopt);
  data[kSegment + 3] ^= std::byte{1};
  EXPECT_EQ(run->first_difference(kStart, data),
            Lsn{kStart.value + kSegment + 3});
  EXPECT_EQ(run->first_difference({kStart.value + kSegment},
                                  std::span(data).subspan(kSegment, 3)),
            std::nullopt);
}

TEST_F(Spool, BelongsToOneProcess) {
  WalSpool spool(path(), kSegment);
  EXPECT_THROW(WalSpool(path(), kSegment), repo::LockedError);
}

TEST_F(Spool, LostSegmentsAreNoticed) {
  {
    WalSpool spool(path(), kSegment);
    const auto run = spool.begin_run(1, kStart);
    run->write(bytes(2 * kSegment, 1));
    run->sync();
  }
  for (const auto& file : fs::recursive_directory_iterator(path())) {
    if (file.path().filename() == segment_name(1, kStart, kSegment)) {
      fs::resize_file(file.path(), 1000);
    }
  }
  EXPECT_THROW(WalSpool(path(), kSegment), repo::CorruptionError);
}

TEST_F(Spool, RunsComeByTimelineAndPlaceAndGoWhole) {
  WalSpool spool(path(), kSegment);
  (void)spool.begin_run(2, {5 * kSegment});
  const auto first = spool.begin_run(1, {9 * kSegment});
  (void)spool.begin_run(2, {16 * kSegment});
  first->write(bytes(10, 1));
  ASSERT_EQ(spool.runs().size(), 3U);
  EXPECT_EQ(spool.runs()[0], first);
  EXPECT_EQ(spool.runs()[2]->begin(), Lsn{16 * kSegment});
  spool.remove(*first);
  EXPECT_EQ(spool.runs().size(), 2U);
  EXPECT_EQ(segments(), 0U);
}

TEST_F(Spool, HistoriesStay) {
  {
    WalSpool spool(path(), kSegment);
    spool.add_history(3, "three");
    spool.add_history(2, "two");
    EXPECT_THROW(spool.add_history(4, std::string(2 << 20, 'x')),
                 repo::CorruptionError);
  }
  WalSpool spool(path(), kSegment);
  EXPECT_EQ(spool.histories(2),
            (std::map<std::uint32_t, std::string>{{2, "two"}}));
  EXPECT_EQ(spool.histories(9).size(), 2U);
}

}  // namespace
}  // namespace cairn::ingest
