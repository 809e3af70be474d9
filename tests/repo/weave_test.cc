#include "repo/weave.h"

#include <gtest/gtest.h>

#include <random>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::StateWriter;
using testing_support::TestRepository;

class WeaveTest : public ::testing::Test {
 protected:
  // Parts in chunks of some size, each with a list of its own where there are
  // many.
  std::vector<Link> store(const std::vector<Bytes>& parts,
                          std::size_t chunk_bytes) {
    StateWriter writer(repository);
    const StoreNode store_node = [&](BlobKind kind,
                                     std::span<const std::byte> plain) {
      return writer.store_node(kind, plain);
    };
    std::vector<Link> rows;
    for (const auto& part : parts) {
      ListWriter list(store_node);
      std::span<const std::byte> rest = part;
      while (!rest.empty()) {
        const auto chunk = rest.first(std::min(chunk_bytes, rest.size()));
        list.add(writer.chunk(chunk));
        rest = rest.subspan(chunk.size());
      }
      const auto own = std::move(list).finish();
      rows.insert(rows.end(), own.begin(), own.end());
    }
    writer.publish_index();
    return rows;
  }

  Bytes read(const std::vector<Bytes>& parts, std::size_t chunk_bytes = 1000) {
    Weave weave;
    for (const auto& part : parts) weave.parts.push_back(part.size());
    BlobReader blobs = repository.blobs();
    PieceCursor pieces(blobs, weave, store(parts, chunk_bytes));
    Bytes all;
    while (const auto piece = pieces.next()) {
      const auto plain = blobs.read(BlobKind::content, piece->chunk.id);
      const auto bytes =
          std::span<const std::byte>(*plain).subspan(piece->from, piece->size);
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

  static Bytes recipe(const std::vector<WeaveStep>& steps) {
    Bytes bytes;
    for (const auto& step : steps) {
      const auto encoded = encode_step(step);
      bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    }
    return bytes;
  }

  static Bytes step(unsigned part, std::uint64_t length) {
    Bytes bytes(kWeaveStepBytes);
    bytes[0] = static_cast<std::byte>(part);
    for (std::size_t i = 1; i < kWeaveStepBytes; ++i) {
      bytes[i] = static_cast<std::byte>(length >> (8 * (i - 1)));
    }
    return bytes;
  }

  TestRepository stored;
  Repository repository = stored.open();
  std::mt19937_64 random{1};
};

TEST_F(WeaveTest, TheRecipeIsFollowedHoweverThePartsAreCut) {
  for_each_seed(20, [&](auto& seeded) {
    const std::size_t count = 1 + seeded() % (kMaxWeaveParts - 1);
    std::vector<Bytes> parts(1 + count);
    std::vector<WeaveStep> steps;
    Bytes expected;
    for (auto n = 1 + seeded() % 2000; n > 0; --n) {
      const auto part = static_cast<unsigned>(1 + seeded() % count);
      const Bytes bytes = random_bytes(seeded, 1 + seeded() % 100);
      steps.push_back({part, bytes.size()});
      parts[part].insert(parts[part].end(), bytes.begin(), bytes.end());
      expected.insert(expected.end(), bytes.begin(), bytes.end());
    }
    parts[kRecipePart] = recipe(steps);

    EXPECT_EQ(read(parts, 1 + seeded() % 5000), expected);
  });
}

TEST_F(WeaveTest, WhatDoesNotFitIsRefused) {
  const Bytes one = random_bytes(random, 3000);
  const auto refused = [&](const Bytes& bad_recipe) {
    EXPECT_THROW(read({bad_recipe, one, one}), CorruptionError);
  };
  const Bytes good = recipe({{1, 3000}, {2, 3000}});
  EXPECT_EQ(read({good, one, one}).size(), 6000U);

  refused(recipe({{1, 3000}}));             // a part is left out
  refused(recipe({{1, 3000}, {2, 2999}}));  // and the end of one
  refused(recipe({{1, 3000}, {2, 3001}}));  // more than there is
  refused(recipe({{1, 3000}, {3, 3000}}));  // no such part
  Bytes bad = step(0, 8);                   // the recipe itself
  bad.insert(bad.end(), good.begin(), good.end());
  refused(bad);
  bad = step(1, 0);  // nothing
  bad.insert(bad.end(), good.begin(), good.end());
  refused(bad);
  bad = good;
  bad.pop_back();  // within a step
  refused(bad);
  bad = good;
  bad.insert(bad.end(), good.begin(), good.end());  // twice
  refused(bad);
}

TEST_F(WeaveTest, DigestsAreThoseOfXxh3) {
  WeaveDigester digester;
  WeaveDigest empty = digester.finish();
  // XXH3_128bits of nothing, as its documentation's test vectors have it.
  EXPECT_EQ(empty[0], std::byte{0x99});
  EXPECT_EQ(empty[15], std::byte{0x7f});
  const Bytes bytes = random_bytes(random, 10'000);
  WeaveDigester whole;
  whole.add(bytes);
  WeaveDigester piecewise;
  piecewise.add(std::span(bytes).first(77));
  piecewise.add(std::span(bytes).subspan(77));
  EXPECT_EQ(whole.finish(), piecewise.finish());
  EXPECT_NE(whole.finish(), empty);
}

}  // namespace
}  // namespace cairn::repo
