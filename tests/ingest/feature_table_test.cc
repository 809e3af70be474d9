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

  // How a chunk with these features would descend.
  std::optional<Descent> descent_of(const Features& features) {
    const auto similar = table_.find(features);
    return similar.empty() ? std::nullopt
                           : table_.descent_from(similar.front());
  }

  std::optional<repo::BlobId> leans_on(const Features& features) {
    const auto descent = descent_of(features);
    return descent ? std::optional(descent->bases.front().id) : std::nullopt;
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

TEST_F(FeatureTableTest, TheNewestLineageWithAFeatureIsFound) {
  remember({10, 20, 30, 40});
  flush();
  const auto newest = remember({10, 20, 30, 40});
  flush();

  EXPECT_EQ(leans_on({10, 20, 30, 40}), newest);
}

TEST_F(FeatureTableTest, ANewStateTakesTheLineageOver) {
  remember({10, 20, 30, 40});
  flush();
  const auto first = *descent_of({10, 20, 30, 41});
  const auto second = remember({10, 20, 30, 41}, first);
  flush();

  const auto next = descent_of({10, 20, 30, 41});

  EXPECT_EQ(next->lineage, first.lineage);
  EXPECT_EQ(next->bases.front(), (LineageState{1, second}));
  EXPECT_EQ(next->features, (Features{10, 20, 30, 41}));
  EXPECT_EQ(next->number, 2U);
}

TEST_F(FeatureTableTest, OfTwoNewStatesInOneRunTheSecondBeginsALineage) {
  remember({10, 20, 30, 40});
  flush();
  const auto descent = *descent_of({10, 20, 30, 40});
  remember({10, 20, 30, 41}, descent);
  const auto second = remember({10, 20, 30, 42}, descent);
  flush();

  EXPECT_EQ(leans_on({10, 20, 30, 42}), second);
  EXPECT_NE(descent_of({42})->lineage, descent.lineage);
}

TEST_F(FeatureTableTest, APartThatWentItsOwnWayBeginsALineage) {
  const auto whole = remember({10, 20, 30, 40, 50, 60, 70, 80});
  flush();
  const auto descent = *descent_of({10, 20, 30, 40, 51, 61, 71, 81});
  const auto part = remember({10, 20, 30, 40, 51, 61, 71, 81}, descent);
  flush();

  EXPECT_EQ(leans_on({51, 61, 71, 81}), part);
  EXPECT_EQ(leans_on({50, 60, 70, 80}), whole);
}

TEST_F(FeatureTableTest, AChunkStoredWholeBeginsItsLineageAnew) {
  remember({10, 20, 30, 40});
  flush();
  auto descent = *descent_of({10, 20, 30, 40});
  descent.bases.clear();
  const auto whole = remember({10, 20, 30, 40}, descent);
  flush();

  const auto next = descent_of({10, 20, 30, 40});
  EXPECT_EQ(next->lineage, descent.lineage);
  EXPECT_EQ(next->bases, (std::vector<LineageState>{{0, whole}}));
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
  const auto id = remember({10, 20});
  flush();

  repo::IndexStore store(folder_.path());
  const FeatureTable table(store, kSeries);
  const auto similar = table.find(Features{10, 20});

  ASSERT_EQ(similar.size(), 1U);
  const auto descent = table.descent_from(similar.front());
  ASSERT_TRUE(descent);
  EXPECT_EQ(descent->bases, (std::vector<LineageState>{{0, id}}));
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

// The rule itself: groups of seven, whose first ones are skip-deltas, but that
// each fourth leans on the first of sixteen.
TEST_F(FeatureTableTest, StatesLeanOnEachOtherAsSkipDeltasDo) {
  const std::vector<std::uint32_t> few = {0, 0, 1, 2, 1, 4, 5};
  const auto expected_base = [&](std::uint32_t n) {
    if (n % 7 != 0) return n - n % 7 + few[n % 7];
    std::uint32_t power = 1;
    while (n / 7 % (power * 4) == 0) power *= 4;
    return power == 4 ? n - n % (7 * 16) : n - 7 * power;
  };
  std::vector<repo::BlobId> states = {remember({10, 20, 30})};
  flush();
  std::vector<std::size_t> depth = {0};
  for (std::uint32_t n = 1; n <= 230; ++n) {
    FeatureTable run(store_, kSeries);
    const auto similar = run.find(Features{10, 20, 30});
    ASSERT_EQ(similar.size(), 1U);

    const auto descent = run.descent_from(similar.front());

    const std::uint32_t base = expected_base(n);
    ASSERT_TRUE(descent);
    EXPECT_EQ(descent->number, n);
    EXPECT_EQ(descent->bases.front(), (LineageState{base, states[base]}));
    depth.push_back(depth[base] + 1);
    EXPECT_EQ(descent->bases.size(), depth.back());
    states.push_back(random_id<repo::BlobId>(random_));
    run.remember(states.back(), *descent, Features{10, 20, 30});
    flush(store_, run);
  }
  EXPECT_LE(*std::ranges::max_element(depth), 9U);
}

TEST_F(FeatureTableTest, WhereAStateIsMissingTheNextOlderOneIsLeanedOn) {
  const auto oldest = random_id<repo::BlobId>(random_);
  Descent descent;
  descent.number = 10;  // 11 leans on 8 by the rule, which is not there
  descent.bases = {{9, random_id<repo::BlobId>(random_)}, {7, oldest}};
  remember({10, 20}, descent);
  flush();

  EXPECT_EQ(leans_on({10, 20}), oldest);
}

// Else the next run would take the few lineages of this one for all there are.
TEST_F(FeatureTableTest, IsNotThereOnceItsStoreWasMadeAnewUnderARun) {
  remember({10, 20});
  flush();
  FeatureTable run(store_, kSeries);
  ASSERT_EQ(store_.clear(10s), repo::IndexStore::Written::yes);
  run.remember(random_id<repo::BlobId>(random_), {}, Features{11, 21});

  flush(store_, run);

  EXPECT_FALSE(FeatureTable(store_, kSeries).is_there());
}

// Asked for often enough, neighbours come together; who asks sees no
// difference.
TEST_F(FeatureTableTest, EachLineageIsItselfInWhateverOrderTheyAreAskedFor) {
  std::vector<repo::BlobId> ids;
  for (std::uint64_t i = 0; i < 3'000; ++i) ids.push_back(remember({i}));
  flush();
  std::vector<LineageNumber> order(ids.size() + 300);  // some are not there
  std::iota(order.begin(), order.end(), 0U);
  for (int round = 0; round < 2; ++round) {
    const FeatureTable run(store_, kSeries);
    for (const auto number : order) {
      const auto descent = run.descent_from(number);
      ASSERT_EQ(descent.has_value(), number < ids.size()) << number;
      if (!descent) continue;
      EXPECT_EQ(descent->bases.front().id, ids[number]);
    }
    std::ranges::shuffle(order, random_);
  }
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
