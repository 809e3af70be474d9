#include "ingest/wal_fetch.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>

#include "ingest/wal_fetch_ahead.h"
#include "ingest/whole_file.h"
#include "repo/error.h"
#include "tests/support/pushed_wal_site.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::Bytes;
using testing_support::kSegment;
using testing_support::kSystem;
using testing_support::kWalSeries;
using testing_support::PushedWalSite;

class Fetch : public PushedWalSite {
 protected:
  void begin() {
    repository.emplace(site.open());
    list = repository->snapshots(clock());
    fetch.emplace(*repository, list,
                  WalFetch::Where{.series = std::string(kWalSeries),
                                  .system = kSystem,
                                  .spools = spools()});
  }
  Bytes read(const std::string& name) {
    Bytes all;
    fetch->read(*parse_wal_file_name(name),
                [&](std::span<const std::byte> piece) {
                  all.insert(all.end(), piece.begin(), piece.end());
                });
    return all;
  }
  std::uint64_t available(const std::string& name) {
    return fetch->available(*parse_wal_file_name(name));
  }

  std::optional<repo::Repository> repository;
  repo::SnapshotList list;
  std::optional<WalFetch> fetch;
};

TEST_F(Fetch, ComesFromTheRepositoryOrTheSpoolWhicheverHasMore) {
  (void)add(segment(3));
  drain();
  (void)add(segment(4));
  {
    WalSpool spool(spool_path(), kSegment);
    const auto run = spool.begin_run(1, {5 * kSegment});
    const Bytes whole = content(segment(5));
    run->write(std::span(whole).first(5000));
    run->sync();
    run->write(Bytes(5));  // not synced
  }
  begin();
  EXPECT_EQ(read("000000010000000000000003"), content(segment(3)));
  EXPECT_EQ(read("000000010000000000000004"), content(segment(4)));
  EXPECT_EQ(available("000000010000000000000005"), 5000U);
  EXPECT_EQ(read("000000010000000000000005").size(), 5000U);
  EXPECT_EQ(available("000000010000000000000006"), 0U);
  EXPECT_EQ(available("000000020000000000000004"), 0U);
  EXPECT_FALSE(fetch->history(2));
}

TEST_F(Fetch, AGapIsTold) {
  (void)add(segment(3));
  (void)add(segment(6));
  drain();
  begin();
  EXPECT_EQ(available("000000010000000000000004"), 0U);
  const auto gap =
      fetch->gap_at(*parse_wal_file_name("000000010000000000000004"));
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->begin.value, 4 * kSegment);
  EXPECT_EQ(gap->end.value, 6 * kSegment);
  EXPECT_FALSE(fetch->gap_at(*parse_wal_file_name("000000010000000000000008")));
  EXPECT_FALSE(fetch->gap_at(*parse_wal_file_name("000000010000000000000001")));
}

TEST_F(Fetch, WhereAnythingCannotBeReadAbsenceIsNotCertain) {
  (void)add(segment(3));
  drain();
  begin();
  EXPECT_EQ(available("000000010000000000000004"), 0U);
  list.damage.emplace_back("snapshots/00 is damaged");
  fetch.emplace(*repository, list,
                WalFetch::Where{.series = std::string(kWalSeries),
                                .system = kSystem,
                                .spools = spools()});
  EXPECT_EQ(available("000000010000000000000003"), kSegment);
  EXPECT_THROW((void)available("000000010000000000000004"),
               repo::CorruptionError);
  EXPECT_THROW((void)fetch->history(2), repo::CorruptionError);
}

TEST_F(Fetch, ASeriesWithoutThatClusterIsNoAnswer) {
  (void)add(segment(3));
  drain();
  begin();
  const auto where = [&](std::string series, std::uint64_t system) {
    return WalFetch::Where{
        .series = std::move(series), .system = system, .spools = spools()};
  };
  EXPECT_THROW(WalFetch(*repository, list, where("host/other/wal", kSystem)),
               repo::NotFound);
  EXPECT_THROW(WalFetch(*repository, list, where(std::string(kWalSeries), 78)),
               repo::NotFound);
}

class Ahead : public Fetch {
 protected:
  void SetUp() override {
    for (std::uint64_t number = 3; number < 8; ++number) {
      (void)add(segment(number));
    }
    drain();
    begin();
  }
  static WalFileName name(std::uint64_t number) {
    return *parse_wal_file_name(segment_name(1, {number * kSegment}, kSegment));
  }
  // Nothing: it is not there.
  std::optional<Bytes> take(std::uint64_t number) {
    const fs::path target = folder / "target";
    fs::remove(target);
    WholeFile file(target, WholeFile::Durability::of_the_caller);
    if (!ahead.take(name(number), file)) return std::nullopt;
    std::move(file).name_or_replace();
    return content(target);
  }
  void fill(std::uint64_t number, std::uint64_t most_bytes) {
    ASSERT_TRUE(ahead.claim());
    ahead.plan(*fetch, name(number), most_bytes);
    ahead.fill(*fetch);
  }
  [[nodiscard]] fs::path place(std::uint64_t number) const {
    return folder / "ahead" / name(number).text;
  }

  WalFetchAhead ahead{folder / "ahead"};
};

TEST_F(Ahead, HandsOutWhatFollowsAsOftenAsItIsAskedFor) {
  fill(3, 3 * kSegment);
  EXPECT_FALSE(take(3));
  EXPECT_EQ(take(4), content(segment(4)));
  EXPECT_EQ(take(5), content(segment(5)));
  EXPECT_EQ(take(5), content(segment(5)));
  EXPECT_FALSE(take(4));  // it went with the one behind it
  EXPECT_EQ(take(6), content(segment(6)));
  EXPECT_FALSE(take(7));  // more than was allowed
}

TEST_F(Ahead, HandsOutNothingThatHasChanged) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{5000},
                               std::size_t{kSegment}, kSegment + 15}) {
    ahead.clear();
    fill(3, 3 * kSegment);
    std::fstream file(place(4),
                      std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    file.close();
    EXPECT_FALSE(take(4)) << at;
    EXPECT_FALSE(fs::exists(place(4)));
  }
  fill(3, 3 * kSegment);
  fs::resize_file(place(4), kSegment / 2);
  EXPECT_FALSE(take(4));
  fs::rename(place(5), place(6));  // another one's
  EXPECT_FALSE(take(6));
}

TEST_F(Ahead, KeepsNoMoreThanWasAllowed) {
  fill(3, 4 * kSegment);
  std::ofstream(place(99)) << "left by somebody";
  fill(5, 2 * kSegment);
  EXPECT_FALSE(fs::exists(place(4)));
  EXPECT_FALSE(fs::exists(place(99)));
  EXPECT_TRUE(fs::exists(place(6)));
  EXPECT_TRUE(fs::exists(place(7)));
  ahead.clear();
  EXPECT_FALSE(take(6));
}

TEST_F(Ahead, WaitsForWhatAnotherProcessIsPuttingThere) {
  WalFetchAhead other(folder / "ahead");
  ASSERT_TRUE(other.claim());
  EXPECT_FALSE(ahead.claim());
  other.plan(*fetch, name(3), 2 * kSegment);
  std::optional<Bytes> taken;
  {
    std::jthread asks([&] { taken = take(4); });
    other.fill(*fetch);
  }
  EXPECT_EQ(taken, content(segment(4)));
  // One that gave up is not waited for.
  fs::remove(place(5));
  EXPECT_FALSE(take(5));
  EXPECT_TRUE(ahead.claim());
}

TEST_F(Ahead, KnowsWhenMoreShouldBeFetched) {
  EXPECT_FALSE(ahead.is_running_low(name(3)));
  fill(3, 3 * kSegment);
  EXPECT_FALSE(ahead.is_running_low(name(4)));
  EXPECT_TRUE(ahead.is_running_low(name(5)));
  EXPECT_TRUE(ahead.is_running_low(name(6)));
  // What is stored ends there.
  fill(4, 4 * kSegment);
  EXPECT_FALSE(ahead.is_running_low(name(7)));
}

}  // namespace
}  // namespace cairn::ingest
