#include "ingest/feature_table.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using namespace std::chrono_literals;
using testing_support::for_each_seed;
using testing_support::random_id;
using Features = std::vector<std::uint64_t>;

constexpr repo::SeriesTag kSeries{std::byte{1}};
constexpr repo::SeriesTag kOtherSeries{std::byte{2}};

class FeatureTableTest : public ::testing::Test {
 protected:
  static void flush(repo::IndexStore& store, FeatureTable& table) {
    ASSERT_EQ(store.write(10s, [&](auto& writer) { table.flush(writer); }),
              repo::IndexStore::Written::yes);
  }
  void flush() { flush(store_, table_); }

  repo::BlobId remember(const Features& features, const Descent& descent = {}) {
    const auto id = random_id<repo::BlobId>(random_);
    table_.remember(id, descent, features);
    return id;
  }

  // The id that a chunk with these features would lean on.
  std::optional<repo::BlobId> leans_on(const Features& features) {
    const auto similar = table_.find(features);
    if (similar.empty()) return std::nullopt;
    const auto base = table_.base_for(similar.front());
    return base ? std::optional(base->id) : std::nullopt;
  }

  std::mt19937_64 random_{1};
  testing_support::TempFolder folder_;
  repo::IndexStore store_{folder_.path()};
  FeatureTable table_{store_, kSeries};
};

TEST_F(FeatureTableTest, FindsTheChunksThatShareMostFirst) {
  const auto one = remember({10, 20, 30, 40, 50, 60, 70, 80});
  const auto other = remember({11, 21, 31, 41, 51, 61, 71, 81});
  flush();

  EXPECT_EQ(leans_on({10, 21, 30, 41, 50, 60, 72, 82}), one);
  EXPECT_EQ(leans_on({10, 21, 30, 41, 51, 61, 71, 82}), other);
  EXPECT_EQ(table_.find(Features{10, 21, 30, 41, 51, 61, 71, 82}).size(), 2U);
  EXPECT_FALSE(leans_on({1, 2, 3}));
}

TEST_F(FeatureTableTest, TheNewestChunkWithAFeatureIsFound) {
  remember({10, 20, 30, 40});
  flush();
  const auto newest = remember({10, 20, 30, 40});
  flush();

  EXPECT_EQ(leans_on({10, 20, 30, 40}), newest);
}

TEST_F(FeatureTableTest, GivesAFewOfMany) {
  Features all;
  for (std::uint64_t i = 0; i < 10; ++i) {
    remember({i});
    all.push_back(i);
  }
  flush();

  EXPECT_EQ(table_.find(all).size(), FeatureTable::kMaxSimilar);
}

TEST_F(FeatureTableTest, WhatIsNotFlushedIsNotFound) {
  EXPECT_FALSE(table_.is_there());
  remember({10, 20});
  EXPECT_TRUE(table_.find(Features{10, 20}).empty());
  EXPECT_GT(table_.pending_bytes(), 0U);

  flush();

  EXPECT_TRUE(table_.is_there());
  EXPECT_EQ(table_.pending_bytes(), 0U);
  EXPECT_EQ(table_.find(Features{10, 20}).size(), 1U);
}

TEST_F(FeatureTableTest, TheNextProcessKnowsWhatThisOneFlushed) {
  const auto id = remember({10, 20}, {5, 3});
  flush();

  repo::IndexStore store(folder_.path());
  const FeatureTable table(store, kSeries);
  const auto similar = table.find(Features{10, 20});

  ASSERT_EQ(similar.size(), 1U);
  const auto base = table.base_for(similar.front());
  ASSERT_TRUE(base);
  EXPECT_EQ(base->id, id);
  EXPECT_EQ(base->descent.state, 6U);
}

TEST_F(FeatureTableTest, TwoProcessesGiveNoNumberTwice) {
  FeatureTable other(store_, kSeries);
  const auto mine = remember({10, 20});
  const auto theirs = random_id<repo::BlobId>(random_);
  other.remember(theirs, {}, Features{30, 40});
  flush();
  flush(store_, other);

  EXPECT_EQ(leans_on({10, 20}), mine);
  EXPECT_EQ(leans_on({30, 40}), theirs);
}

TEST_F(FeatureTableTest, NoSeriesSeesTheChunksOfAnother) {
  remember({10, 20});
  flush();

  const FeatureTable other(store_, kOtherSeries);

  EXPECT_FALSE(other.is_there());
  EXPECT_TRUE(other.find(Features{10, 20}).empty());
}

// The rule itself: state n leans on n less the largest power of four in it.
TEST_F(FeatureTableTest, StatesLeanOnEachOtherAsSkipDeltasDo) {
  std::vector<repo::BlobId> states = {remember({10, 20, 30})};
  flush();
  std::size_t longest = 0;
  std::vector<std::size_t> depth = {0};
  for (std::uint32_t n = 1; n <= 130; ++n) {
    const auto similar = table_.find(Features{10, 20, 30});
    ASSERT_FALSE(similar.empty());

    const auto base = table_.base_for(similar.front());

    std::uint32_t power = 1;
    while (n % (power * 4) == 0) power *= 4;
    ASSERT_TRUE(base);
    EXPECT_EQ(base->id, states[n - power]) << "state " << n;
    EXPECT_EQ(base->descent.state, n);
    states.push_back(remember({10, 20, 30}, base->descent));
    depth.push_back(depth[n - power] + 1);
    longest = std::max(longest, depth.back());
    flush();
  }
  EXPECT_LE(longest, 10U);
}

TEST_F(FeatureTableTest, AnAncestorThatIsNotKnownEndsTheWayUp) {
  constexpr std::uint32_t kUnknown = 77;
  const auto id = remember({10, 20}, {3, kUnknown});
  flush();

  EXPECT_EQ(leans_on({10, 20}), id);
}

TEST_F(FeatureTableTest, DamagedValuesResembleNothing) {
  remember({10, 20});
  flush();
  ASSERT_EQ(store_.write(10s,
                         [&](auto& writer) {
                           std::vector<std::string> keys;
                           writer.for_each("c", [&](auto key, auto) {
                             keys.emplace_back(key);
                             return repo::IndexStore::Next::go_on;
                           });
                           for (const auto& key : keys) writer.put(key, "?");
                         }),
            repo::IndexStore::Written::yes);

  EXPECT_FALSE(leans_on({10, 20}));
}

TEST_F(FeatureTableTest, ChunksThatAreGoneAreForgottenOnceThereAreMany) {
  constexpr std::size_t kMany = 70'000;
  std::set<repo::BlobId> stored;
  for (std::size_t i = 0; i < kMany; ++i) {
    const auto id = remember({i});
    if (i % 10 == 0) stored.insert(id);
  }
  std::size_t asked = 0;
  const auto clean = [&] {
    ASSERT_EQ(store_.write(10s,
                           [&](auto& writer) {
                             table_.flush(writer);
                             table_.drop_what_is_gone(
                                 writer, [&](const repo::BlobId& id) {
                                   ++asked;
                                   return stored.contains(id);
                                 });
                           }),
              repo::IndexStore::Written::yes);
  };

  clean();

  EXPECT_EQ(asked, kMany);
  EXPECT_TRUE(leans_on({10}));
  EXPECT_TRUE(table_.find(Features{11}).empty());

  clean();  // nothing has grown since
  EXPECT_EQ(asked, kMany);
}

}  // namespace
}  // namespace cairn::ingest
