#include "ingest/wal_run_choice.h"

#include <gtest/gtest.h>

#include "tests/support/bytes.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;
using testing_support::TempFolder;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;

class WalRunChoice : public ::testing::Test {
 protected:
  // From that segment on, so many bytes.
  std::shared_ptr<WalRun> hold(std::uint32_t timeline, std::uint64_t segment,
                               std::size_t size) {
    auto run = spool.begin_run(timeline, {segment * kSegment});
    run->write(Bytes(size));
    run->sync();
    return run;
  }
  std::shared_ptr<WalRun> choose(Lsn kept = {}) {
    return run_to_go_on_from(spool.runs(), ends, kept);
  }

  TempFolder folder;
  WalSpool spool{folder / "spool", kSegment};
  std::vector<TimelineEnd> ends;
};

TEST_F(WalRunChoice, IsTheOneThatCameFurthest) {
  EXPECT_EQ(choose(), nullptr);
  const auto first = hold(1, 3, 5 * kSegment + 100);
  EXPECT_EQ(choose(), first);
  (void)hold(1, 5, kSegment);  // within it
  EXPECT_EQ(choose(), first);
  const auto beyond = hold(1, 8, 2 * kSegment);
  EXPECT_EQ(choose(), beyond);
}

TEST_F(WalRunChoice, IsTheOneBeforeAGapThatTheServerKeeps) {
  const auto before = hold(1, 3, kSegment + 100);
  const auto behind = hold(1, 7, kSegment);
  EXPECT_EQ(choose({4 * kSegment}), before);
  // Too late: that is a gap for good.
  EXPECT_EQ(choose({5 * kSegment}), behind);
}

TEST_F(WalRunChoice, IsTheRestOfATimelineBeforeTheNextOne) {
  const auto old = hold(1, 3, kSegment + 100);
  const auto next = hold(2, 6, kSegment);
  ends = {{1, {6 * kSegment + 500}}};
  EXPECT_EQ(choose(), old);
  EXPECT_EQ(choose({5 * kSegment}), next);
  ends = {{1, {4 * kSegment + 100}}};
  EXPECT_EQ(choose(), next);
  ends = {};  // of another history
  EXPECT_EQ(choose(), next);
}

}  // namespace
}  // namespace cairn::ingest
