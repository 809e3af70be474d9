#include "repo/base_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::for_each_seed;
using testing_support::random_id;

BlobRow row_of(const BlobId& id, const std::optional<BlobId>& base,
               std::uint32_t depth) {
  BlobRow row;
  row.id = id;
  row.base = base;
  row.depth = depth;
  return row;
}

// Of which some are to be ordered, and the rest are found.
struct Blobs {
  std::vector<BlobRow> rows;
  std::map<BlobId, BlobRow> others;

  [[nodiscard]] std::optional<BlobRow> find_base(const BlobRow& row) const {
    const auto found = others.find(*row.base);
    if (found == others.end()) return std::nullopt;
    return found->second;
  }
};

Blobs random_blobs(std::mt19937_64& random) {
  std::vector<BlobRow> all;
  for (std::size_t i = 0; i < 1 + random() % 60; ++i) {
    const bool is_whole = all.empty() || random() % 5 == 0;
    if (is_whole) {
      all.push_back(row_of(random_id<BlobId>(random), std::nullopt, 0));
    } else {
      const BlobRow& base = all[random() % all.size()];
      all.push_back(row_of(random_id<BlobId>(random), base.id, base.depth + 1));
    }
  }
  Blobs blobs;
  for (const auto& row : all) {
    if (random() % 3 == 0) {
      blobs.others.emplace(row.id, row);
      continue;
    }
    blobs.rows.push_back(row);
    if (random() % 8 == 0) blobs.rows.push_back(row);  // another copy
  }
  std::ranges::shuffle(blobs.rows, random);
  return blobs;
}

void expect_each_once(const std::vector<std::size_t>& order,
                      std::size_t count) {
  std::vector<std::size_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE(std::ranges::is_permutation(order, all));
}

TEST(BaseOrder, WhoKeepsTheLastChainDecodesNothingTwice) {
  for_each_seed(300, [](std::mt19937_64& random) {
    const Blobs blobs = random_blobs(random);
    std::map<BlobId, int> times_sought;
    const auto order = order_by_bases(blobs.rows, [&](const BlobRow& row) {
      ++times_sought[*row.base];
      return blobs.find_base(row);
    });

    expect_each_once(order, blobs.rows.size());
    std::vector<BlobId> chain;
    std::map<BlobId, int> times_decoded;
    const auto decode = [&](const auto& self, const BlobRow& row) -> void {
      if (const auto at = std::ranges::find(chain, row.id); at != chain.end()) {
        chain.erase(at + 1, chain.end());
        return;
      }
      if (!row.base) {
        chain.clear();
      } else if (const auto base = blobs.find_base(row)) {
        self(self, *base);
      } else {
        const auto at = std::ranges::find(chain, *row.base);
        ASSERT_NE(at, chain.end()) << "its base comes later";
        chain.erase(at + 1, chain.end());
      }
      ++times_decoded[row.id];
      chain.push_back(row.id);
    };
    for (const std::size_t i : order) decode(decode, blobs.rows[i]);
    for (const auto& [id, times] : times_decoded) EXPECT_EQ(times, 1);
    for (const auto& [id, times] : times_sought) EXPECT_EQ(times, 1);
  });
}

TEST(BaseOrder, BasesComeInTheOrderOfWhatLeansOnThem) {
  std::mt19937_64 random(1);
  std::vector<BlobRow> rows;
  const auto first = random_id<BlobId>(random);
  const auto second = random_id<BlobId>(random);
  for (int i = 0; i < 3; ++i) {
    rows.push_back(row_of(random_id<BlobId>(random), first, 1));
    rows.push_back(row_of(random_id<BlobId>(random), second, 1));
  }
  const auto order = order_by_bases(
      rows, [](const BlobRow& row) { return row_of(*row.base, {}, 0); });

  EXPECT_EQ(order, (std::vector<std::size_t>{0, 2, 4, 1, 3, 5}));
}

TEST(BaseOrder, RowsThatLeanOnEachOtherComeOnceEach) {
  std::mt19937_64 random(1);
  const auto one = random_id<BlobId>(random);
  const auto two = random_id<BlobId>(random);
  const auto self = random_id<BlobId>(random);
  const std::vector<BlobRow> rows = {row_of(one, two, 2), row_of(two, one, 3),
                                     row_of(self, self, 1)};
  const auto nothing = [](const BlobRow&) { return std::nullopt; };

  expect_each_once(order_by_bases(rows, nothing), rows.size());
  // Those that are found may do so, too.
  const auto leaning = row_of(random_id<BlobId>(random), one, 9);
  const auto order = order_by_bases(
      std::span(&leaning, 1),
      [&](const BlobRow& row) { return *row.base == one ? rows[0] : rows[1]; });
  expect_each_once(order, 1);
}

}  // namespace
}  // namespace cairn::repo
