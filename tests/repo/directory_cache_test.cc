#include "repo/directory_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

#include "repo/pack_format.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::for_each_seed;

BlobId id_of(std::uint64_t n) {
  BlobId id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.bytes[i] = static_cast<std::byte>(n >> (8 * i));
  }
  return id;
}

BlobRow row_of(std::uint64_t n, std::optional<std::uint64_t> base = {},
               std::uint32_t depth = 0) {
  BlobRow row;
  row.id = id_of(n);
  row.stored_size = 100 + static_cast<std::uint32_t>(n % 7);
  if (base) {
    row.codec = Codec::zstd_to_base;
    row.base = id_of(*base);
    row.depth = depth;
  }
  return row;
}

Directory directory_of(std::vector<BlobRow> rows) {
  return {{}, std::move(rows)};
}

TEST(DirectoryCache, FollowChainsFromPackToPack) {
  DirectoryCache rows;
  rows.add(3, directory_of({row_of(9), row_of(1)}));
  rows.add(5, directory_of({row_of(2, 1, 1), row_of(3, 2, 2)}));

  const auto chain = rows.chain_of(BlobKind::content, id_of(3));

  ASSERT_EQ(chain.size(), 3u);
  EXPECT_EQ(chain[0].pack, 5u);
  EXPECT_EQ(chain[0].offset, kPackHeadBytes + row_of(2).stored_size);
  EXPECT_EQ(chain[1].row, row_of(2, 1, 1));
  EXPECT_EQ(chain[2].pack, 3u);
  EXPECT_EQ(chain[2].row, row_of(1));
  EXPECT_EQ(chain[2].offset, kPackHeadBytes + row_of(9).stored_size);

  EXPECT_EQ(rows.base_of(row_of(3, 2, 2))->row, row_of(2, 1, 1));
  EXPECT_FALSE(rows.base_of(row_of(4, 3, 2)));  // that is not less deep
  EXPECT_FALSE(rows.base_of(row_of(1)));
}

TEST(DirectoryCache, GiveNoChainThatTheyHaveInPart) {
  DirectoryCache rows;
  rows.add(5, directory_of({row_of(2, 1, 1), row_of(3, 2, 2)}));

  EXPECT_TRUE(rows.chain_of(BlobKind::content, id_of(3)).empty());
  EXPECT_TRUE(rows.chain_of(BlobKind::content, id_of(1)).empty());
}

TEST(DirectoryCache, LeanOnSmallerDepthsAloneAndOnTheirOwnKind) {
  DirectoryCache rows;
  rows.add(1, directory_of({row_of(1, 2, 1), row_of(2, 1, 1), row_of(3)}));

  EXPECT_TRUE(rows.chain_of(BlobKind::content, id_of(1)).empty());
  EXPECT_TRUE(rows.chain_of(BlobKind::links, id_of(3)).empty());
  EXPECT_FALSE(rows.chain_of(BlobKind::content, id_of(3)).empty());
}

TEST(DirectoryCache, ForgetAPackWhoseNumberAnotherHas) {
  DirectoryCache rows;
  rows.add(0, directory_of({row_of(1)}));
  rows.forget(0);
  EXPECT_TRUE(rows.chain_of(BlobKind::content, id_of(1)).empty());

  rows.add(0, directory_of({row_of(2)}));
  EXPECT_FALSE(rows.chain_of(BlobKind::content, id_of(2)).empty());
  rows.forget(0);
  EXPECT_TRUE(rows.chain_of(BlobKind::content, id_of(2)).empty());
}

// Many packs come and are forgotten, by themselves and for lack of room; what
// is found is always of the pack that has it.
TEST(DirectoryCache, FindWhatIsThereWhileOthersAreForgotten) {
  for_each_seed(5, [](auto& random) {
    DirectoryCache rows;
    std::map<std::uint64_t, std::uint32_t> newest;  // blob -> pack
    for (std::uint32_t pack = 0; pack < 60; ++pack) {
      std::vector<BlobRow> some;
      for (int i = 0; i < 3000; ++i) {
        some.push_back(row_of(random() % 200'000));
        newest[random() % 200'000];  // one that may be nowhere
      }
      for (const auto& row : some) newest[row.id.prefix()] = pack;
      rows.add(pack, directory_of(some));
      if (random() % 4 == 0) {
        rows.forget(static_cast<std::uint32_t>(random() % (pack + 1)));
      }
    }
    std::size_t found = 0;
    for (const auto& [n, pack] : newest) {
      const auto chain = rows.chain_of(BlobKind::content, id_of(n));
      if (chain.empty()) continue;
      ++found;
      EXPECT_EQ(chain.front().row.id, id_of(n));
    }
    EXPECT_GT(found, DirectoryCache::kMostRows / 4);
    EXPECT_LE(found, DirectoryCache::kMostRows);
  });
}

}  // namespace
}  // namespace cairn::repo
