#include "chunker/features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::chunker {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using Features = std::vector<std::uint64_t>;

constexpr std::size_t kChunk = std::size_t{64} << 10;

CutterKey key_of(std::mt19937_64& random) {
  CutterKey key;
  std::ranges::copy(random_bytes(random, key.size()), key.begin());
  return key;
}

std::size_t shared(const Features& a, const Features& b) {
  Features both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both.size();
}

TEST(Features, AreFewAscendingAndDifferent) {
  for_each_seed(50, [](auto& random) {
    const FeatureExtractor extractor(key_of(random));
    const Bytes chunk = random_bytes(random, random() % (256U << 10));

    const Features features = extractor.features_of(chunk);

    EXPECT_LE(features.size(),
              std::min(kMaxFeatures, chunk.size() / kBytesPerFeature));
    EXPECT_EQ(std::ranges::adjacent_find(features, std::greater_equal()),
              features.end());
    EXPECT_EQ(extractor.features_of(chunk), features);
  });
}

TEST(Features, AWholeChunkHasAllOfThemAndAShortOneNone) {
  std::mt19937_64 random(1);
  const FeatureExtractor extractor(key_of(random));

  EXPECT_EQ(extractor.features_of(random_bytes(random, kChunk)).size(),
            kMaxFeatures);
  EXPECT_TRUE(extractor.features_of(random_bytes(random, kBytesPerFeature - 1))
                  .empty());
  EXPECT_TRUE(extractor.features_of({}).empty());
}

TEST(Features, SurviveScatteredEdits) {
  for_each_seed(50, [](auto& random) {
    const FeatureExtractor extractor(key_of(random));
    const Bytes before = random_bytes(random, kChunk);
    Bytes after = before;
    for (int i = 0; i < 10; ++i) after[random() % kChunk] ^= std::byte{1};

    EXPECT_GE(
        shared(extractor.features_of(before), extractor.features_of(after)),
        kMaxFeatures * 3 / 4);
  });
}

TEST(Features, SurviveOtherCuts) {
  for_each_seed(50, [](auto& random) {
    const FeatureExtractor extractor(key_of(random));
    const Bytes stream = random_bytes(random, 2 * kChunk);
    const auto here = std::span(stream).first(kChunk);
    const auto there = std::span(stream).subspan(kChunk / 8, kChunk);

    EXPECT_GE(shared(extractor.features_of(here), extractor.features_of(there)),
              kMaxFeatures / 2);
  });
}

TEST(Features, OfUnrelatedChunksOrUnderAnotherKeyAreOthers) {
  for_each_seed(20, [](auto& random) {
    const FeatureExtractor extractor(key_of(random));
    const FeatureExtractor other(key_of(random));
    const Bytes chunk = random_bytes(random, kChunk);
    const Features features = extractor.features_of(chunk);

    EXPECT_EQ(shared(features, other.features_of(chunk)), 0U);
    EXPECT_EQ(
        shared(features, extractor.features_of(random_bytes(random, kChunk))),
        0U);
  });
}

TEST(Features, OfBytesThatRepeatAreAsManyAsThereAreDifferentWindows) {
  std::mt19937_64 random(1);
  for (const std::size_t period : {1U, 3U, 100U}) {
    const FeatureExtractor extractor(key_of(random));
    const Bytes pattern = random_bytes(random, period);
    Bytes chunk(kChunk);
    for (std::size_t i = 0; i < kChunk; ++i) chunk[i] = pattern[i % period];

    EXPECT_LE(extractor.features_of(chunk).size(), period);
  }
}

}  // namespace
}  // namespace cairn::chunker
