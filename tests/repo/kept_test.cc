#include "repo/kept.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::random_id;

// A bit of it, at that place in memory. Bytes between the members say nothing.
template <typename Member>
void expect_seen(auto& item, Member& member) {
  const auto before = memory_sum_of(item);
  for (std::size_t bit = 0; bit < 8 * sizeof(Member); ++bit) {
    std::array<unsigned char, sizeof(Member)> bytes;
    const auto flip = [&] {
      std::memcpy(bytes.data(), static_cast<const void*>(&member),
                  bytes.size());
      bytes[bit / 8] ^= static_cast<unsigned char>(1U << (bit % 8));
      std::memcpy(static_cast<void*>(&member), bytes.data(), bytes.size());
    };
    flip();
    EXPECT_NE(memory_sum_of(item), before) << "bit " << bit;
    flip();
  }
  EXPECT_EQ(memory_sum_of(item), before);
}

BlobRow random_row(std::mt19937_64& random) {
  return {.kind = BlobKind::links,
          .codec = Codec::patch,
          .id = random_id<BlobId>(random),
          .plain_size = static_cast<std::uint32_t>(random()),
          .stored_size = static_cast<std::uint32_t>(random()),
          .key = static_cast<std::uint32_t>(random()),
          .counter = random(),
          .base = random_id<BlobId>(random),
          .depth = static_cast<std::uint32_t>(random())};
}

WrappedKey random_key(std::mt19937_64& random) {
  WrappedKey key{.key_class = KeyClass::names,
                 .generation = static_cast<std::uint32_t>(random())};
  std::ranges::copy(random_bytes(random, key.wrapped.size()),
                    key.wrapped.begin());
  return key;
}

TEST(Kept, SeesEveryBitOfARow) {
  for_each_seed(5, [](auto& random) {
    BlobRow row = random_row(random);
    expect_seen(row, row.kind);
    expect_seen(row, row.codec);
    expect_seen(row, row.id);
    expect_seen(row, row.plain_size);
    expect_seen(row, row.stored_size);
    expect_seen(row, row.key);
    expect_seen(row, row.counter);
    expect_seen(row, *row.base);
    expect_seen(row, row.depth);
    const auto before = memory_sum_of(row);
    row.base.reset();
    EXPECT_NE(memory_sum_of(row), before);
  });
}

TEST(Kept, SeesEveryBitOfALinkAndAKey) {
  for_each_seed(5, [](auto& random) {
    Link link{BlobKind::links, random_id<BlobId>(random), random()};
    expect_seen(link, link.kind);
    expect_seen(link, link.id);
    expect_seen(link, link.length);
    WrappedKey key = random_key(random);
    expect_seen(key, key.key_class);
    expect_seen(key, key.generation);
    expect_seen(key, key.wrapped);
  });
}

TEST(Kept, SeesEveryBitOfAPack) {
  for_each_seed(5, [](auto& random) {
    IndexedPack pack{random_id<PackId>(random), random(), {}};
    for (int i = 0; i < 3; ++i) {
      pack.directory.keys.push_back(random_key(random));
      pack.directory.rows.push_back(random_row(random));
      pack.directory.rows.push_back(random_row(random));
    }
    expect_seen(pack, pack.id);
    expect_seen(pack, pack.size);
    for (auto& key : pack.directory.keys) expect_seen(pack, key.wrapped);
    for (auto& row : pack.directory.rows) expect_seen(pack, row.id);
    const auto before = memory_sum_of(pack);
    pack.directory.rows.pop_back();
    EXPECT_NE(memory_sum_of(pack), before);
  });
}

// Where it lies while it waits.
Link& in_memory(const Kept<Link>& kept, std::size_t number) {
  return const_cast<Link&>(kept.items().at(number));
}

TEST(Kept, SaysThatABitFlippedWhileItWaited) {
  for_each_seed(20, [](auto& random) {
    Kept<Link> kept;
    std::vector<Link> added;
    for (auto n = 1 + random() % 50; n > 0; --n) {
      added.push_back({BlobKind::content, random_id<BlobId>(random), random()});
      kept.add(added.back());
    }
    kept.require_unchanged();
    auto& byte = in_memory(kept, random() % added.size())
                     .id.bytes.at(random() % BlobId::kBytes);
    const auto flip = static_cast<std::byte>(1U << (random() % 8));
    byte ^= flip;
    EXPECT_THROW(kept.require_unchanged(), CorruptionError);
    EXPECT_THROW((void)kept.take(), CorruptionError);
    byte ^= flip;
    EXPECT_EQ(kept.take(), added);
    EXPECT_TRUE(kept.empty());
    kept.require_unchanged();  // it begins anew
    kept.add(added.front());
    EXPECT_EQ(kept.take().size(), 1U);
  });
}

}  // namespace
}  // namespace cairn::repo
