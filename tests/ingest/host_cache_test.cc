#include "ingest/host_cache.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::BackupSite;
using testing_support::kSeries;

class HostCacheTest : public ::testing::Test {
 protected:
  HostCache cache_of_series() {
    return {repository_, kSeries,
            repo::series_tag(repository_.keyring(), kSeries)};
  }

  static PathState state_with_rows(std::size_t rows) {
    PathState state;
    state.rows.assign(rows, {repo::BlobKind::content, {}, 1});
    return state;
  }

  BackupSite site_;
  repo::Repository repository_ = site_.open();
};

TEST_F(HostCacheTest, FlushesBeforeItHoldsMuchAndNotSooner) {
  constexpr std::size_t kFewMiB = std::size_t{9} << 20;
  HostCache cache = cache_of_series();
  const std::vector<std::uint64_t> features = {1, 2, 3};
  std::size_t most = 0;
  const auto pending = [&] {
    return cache.paths.pending_bytes() + cache.features.pending_bytes();
  };

  for (int i = 0; pending() >= most && i < 10'000; ++i) {
    most = pending();
    cache.paths.remember("path " + std::to_string(i), state_with_rows(1000));
    cache.features.remember({}, {}, features);
    cache.flush_if_large();
  }

  EXPECT_GT(most, std::size_t{1} << 20);  // seldom: each costs milliseconds
  EXPECT_LT(most, kFewMiB);
  EXPECT_EQ(pending(), 0U);
  EXPECT_EQ(cache.paths.find("path 0"), state_with_rows(1000));
  EXPECT_EQ(cache.features.find(features).size(), 1U);
}

TEST_F(HostCacheTest, WhatIsFlushedLastIsThereForTheNextRun) {
  {
    HostCache cache = cache_of_series();
    cache.paths.remember("path", state_with_rows(1));
    cache.features.remember({}, {}, std::vector<std::uint64_t>{7});
    cache.flush_last([] { return std::set<repo::SessionId>(); });
  }

  repository_ = site_.open();
  const HostCache cache = cache_of_series();

  EXPECT_EQ(cache.paths.find("path"), state_with_rows(1));
  EXPECT_EQ(cache.features.find(std::vector<std::uint64_t>{7}).size(), 1U);
}

TEST_F(HostCacheTest, AStoreThatCannotBeWrittenHarmsNothing) {
  HostCache cache = cache_of_series();
  (void)repository_.index_store();
  const fs::path folder = site_.cache_folder();
  fs::path away = folder;
  away += ".away";
  fs::rename(folder, away);
  cache.paths.remember("lost", state_with_rows(1));

  cache.flush();
  cache.flush_last([] { return std::set<repo::SessionId>(); });

  fs::remove_all(folder);
  fs::rename(away, folder);
  repository_ = site_.open();
  EXPECT_FALSE(cache_of_series().paths.find("lost"));
}

}  // namespace
}  // namespace cairn::ingest
