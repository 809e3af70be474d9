#include "ingest/wal_drain.h"

#include <gtest/gtest.h>

#include <atomic>

#include "ingest/wal_archive.h"
#include "repo/error.h"
#include "tests/support/backup_site.h"
#include "tests/support/faulty_storage.h"

namespace cairn::ingest {
namespace {

using namespace std::chrono_literals;
using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::Call;
using testing_support::ChunkSizing;
using testing_support::FaultyStorage;
using testing_support::TempFolder;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr std::string_view kWalSeries = "host/pg/wal";

class Heard : public WalEvents {
 public:
  void receiving(const WalStart&) override {}
  void gap(const WalGap&) override {}
  void note(const std::string&) override {}
  void flushed(const WalFlush& flush) override {
    const std::lock_guard lock(mutex_);
    flushes_.push_back(flush);
    changed_.notify_all();
  }
  void warning(const std::string& text) override {
    const std::lock_guard lock(mutex_);
    warnings_.push_back(text);
    changed_.notify_all();
  }

  // Waits until there are so many; answers them.
  std::vector<WalFlush> flushes(std::size_t count) {
    return wait_for(flushes_, count);
  }
  std::vector<std::string> warnings(std::size_t count) {
    return wait_for(warnings_, count);
  }

 private:
  template <typename Items>
  Items wait_for(const Items& items, std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, 30s, [&] { return items.size() >= count; }));
    return items;
  }

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::vector<WalFlush> flushes_;
  std::vector<std::string> warnings_;
};

class Drain : public ::testing::Test {
 protected:
  static repo::Timestamp clock() { return {1'800'000'000, 0}; }

  static WalStore store() {
    return WalStore({77, kSegment, "15.18"}, {.series = std::string(kWalSeries),
                                              .host = "host",
                                              .user = "user",
                                              .program = "test",
                                              .clock = clock});
  }

  void receive(WalRun& to, std::size_t size) {
    Bytes bytes(size, static_cast<std::byte>(++seed));
    to.write(bytes);
    to.sync();
  }

  WalDrain& start(repo::Repository repository, WalDrain::Options options) {
    return drain.emplace(
        spool, store(), std::move(repository),
        [this] {
          ++openings;
          return site.open();
        },
        options, heard);
  }

  std::size_t stored() {
    auto repository = site.open();
    const auto list = repository.snapshots(clock());
    return find_wal(list.snapshots,
                    repo::series_tag(repository.keyring(), kWalSeries))
        .size();
  }

  BackupSite site{ChunkSizing::as_by_default};
  TempFolder folder;
  WalSpool spool{folder.path() / "spool", kSegment};
  std::shared_ptr<WalRun> run = spool.begin_run(1, {kSegment});
  Heard heard;
  std::atomic<int> openings = 0;
  std::optional<WalDrain> drain;
  unsigned seed = 0;
};

constexpr WalDrain::Options kOnlyWhenAsked{.interval = 1h,
                                           .bytes = 64 * kSegment};

TEST_F(Drain, BeginsWithWhatIsThere) {
  receive(*run, 1000);
  start(site.open(), kOnlyWhenAsked);
  EXPECT_EQ(heard.flushes(1)[0].end.value, kSegment + 1000);
  drain->finish();
  EXPECT_EQ(heard.flushes(1).size(), 1U);
}

TEST_F(Drain, FlushesWhenAskedWhenThereIsEnoughWhenTimeHasGoneByAndAtTheEnd) {
  auto& with_enough =
      start(site.open(), {.interval = 1h, .bytes = 2 * kSegment});
  receive(*run, 1000);
  with_enough.received();
  with_enough.request();
  EXPECT_EQ(heard.flushes(1)[0].end, run->end());
  receive(*run, 2 * kSegment);
  with_enough.received();
  EXPECT_EQ(heard.flushes(2)[1].end, run->end());
  receive(*run, 500);
  with_enough.received();
  with_enough.finish();
  EXPECT_EQ(heard.flushes(3)[2].end, run->end());
  auto& in_time = start(site.open(), {.interval = 1s, .bytes = kSegment});
  receive(*run, 500);
  in_time.received();
  EXPECT_EQ(heard.flushes(4)[3].end, run->end());
  EXPECT_EQ(stored(), 1U);
}

TEST_F(Drain, TriesAgainUntilItGoesWellAndSaysSoOnce) {
  FaultyStorage storage(site.disk());
  for (std::size_t nth = 1; nth <= 2; ++nth) {
    storage.fail(Call::create, nth, repo::OutOfSpace("disk full"));
  }
  receive(*run, 1000);
  start(site.open_through(storage), kOnlyWhenAsked);
  EXPECT_NE(heard.warnings(1)[0].find("disk full"), std::string::npos);
  EXPECT_EQ(heard.flushes(1)[0].end, run->end());
  EXPECT_EQ(heard.warnings(1).size(), 1U);
  drain->finish();
}

TEST_F(Drain, OpensARepositoryAnewThatCouldNotBeReached) {
  FaultyStorage storage(site.disk());
  storage.fail(Call::create, 1, repo::StorageUnreachable("gone"));
  receive(*run, 1000);
  start(site.open_through(storage), kOnlyWhenAsked);
  (void)heard.flushes(1);
  EXPECT_EQ(openings, 1);
  drain->finish();
}

TEST_F(Drain, EndsWithWhatTheLastFlushFailedWith) {
  FaultyStorage storage(site.disk());
  storage.add({.call = Call::create,
               .error = std::make_exception_ptr(repo::OutOfSpace("disk full")),
               .lasts = testing_support::Lasts::from_then_on});
  start(site.open_through(storage), kOnlyWhenAsked);
  receive(*run, 1000);
  EXPECT_THROW(drain->finish(), repo::OutOfSpace);
  EXPECT_EQ(run->uncommitted_bytes(), 1000U);
}

TEST_F(Drain, RunsThatAreOverGoOnceTheyAreStored) {
  receive(*run, 1000);
  const auto next = spool.begin_run(2, {kSegment});
  receive(*next, 2000);
  spool.use(next);
  start(site.open(), kOnlyWhenAsked);
  (void)heard.flushes(2);
  drain->finish();
  ASSERT_EQ(spool.runs().size(), 1U);
  EXPECT_EQ(spool.runs().front(), next);
  EXPECT_EQ(stored(), 2U);
}

// A receiver may still get what is missing behind it.
TEST_F(Drain, ARunThatNoOtherOneContinuesStays) {
  receive(*run, 1000);
  const auto behind_a_gap = spool.begin_run(1, {5 * kSegment});
  receive(*behind_a_gap, 2000);
  auto repository = site.open();
  auto to = store();
  flush_spool(spool, to, repository, nullptr, heard, {});
  EXPECT_EQ(run->uncommitted_bytes(), 0U);
  EXPECT_EQ(spool.runs().size(), 2U);
  receive(*run, 4 * kSegment + 5000);
  flush_spool(spool, to, repository, nullptr, heard, {});
  EXPECT_EQ(spool.runs(), std::vector{run});
}

}  // namespace
}  // namespace cairn::ingest
