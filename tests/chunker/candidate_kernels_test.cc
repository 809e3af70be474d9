#include "chunker/candidate_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::chunker {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

// The definition, word by word.
bool is_candidate(const CandidateRule& rule,
                  std::span<const std::byte> window) {
  std::uint32_t hash = 0;
  for (const std::byte byte : window) {  // oldest first
    std::uint32_t t = std::to_integer<std::uint32_t>(byte) + rule.offset;
    t = t * rule.first_factor % 65536;
    t = (t ^ (t >> 8)) * rule.last_factor % 65536;
    hash = (hash * rule.multiplier + t) % 65536;
  }
  return hash < rule.limit;
}

CandidateRule random_rule(std::mt19937_64& random) {
  const auto sixteen_bits = [&random] {
    return static_cast<std::uint16_t>(random());
  };
  return {.offset = sixteen_bits(),
          .first_factor = sixteen_bits(),
          .last_factor = sixteen_bits(),
          .multiplier = sixteen_bits(),
          .limit = sixteen_bits()};
}

TEST(CandidateKernels, EachMarksExactlyWhatTheDefinitionSays) {
  for_each_seed(60, [](auto& random) {
    const CandidateRule rule = random_rule(random);
    const std::size_t size =
        kCandidateWindowBytes +
        random() % (kTileBytes - kCandidateWindowBytes + 1);
    const Bytes tile = random_bytes(random, size);

    for (const CandidateKernel& kernel : candidate_kernels()) {
      SCOPED_TRACE(kernel.name);
      CandidateMarks marks;
      kernel.mark(rule, tile, marks);

      for (std::size_t i = kCandidateWindowBytes - 1; i < size; ++i) {
        const auto window = std::span(tile).subspan(
            i + 1 - kCandidateWindowBytes, kCandidateWindowBytes);
        ASSERT_EQ(marks.at(i), is_candidate(rule, window)) << "at " << i;
      }
    }
  });
}

TEST(CandidateKernels, EachReadsNoByteOutsideItsTile) {
  // On the heap and exactly as long, so that address sanitizer sees it.
  std::mt19937_64 random(1);
  for (std::size_t size = 0; size <= kTileBytes; size += size < 200 ? 1 : 77) {
    const Bytes tile = random_bytes(random, size);
    for (const CandidateKernel& kernel : candidate_kernels()) {
      CandidateMarks marks;
      kernel.mark(random_rule(random), tile, marks);
    }
  }
}

TEST(CandidateMarksTest, EverySetOneIsVisitedInOrderUntilOneIsEnough) {
  for_each_seed(300, [](auto& random) {
    CandidateMarks marks{};
    const std::size_t from = random() % 160;
    const std::size_t end = from + random() % (kTileBytes - from + 1);
    std::vector<std::size_t> set;
    const std::uint64_t rarity = 1 + random() % 300;
    for (std::size_t i = 0; i < kTileBytes; ++i) {
      if (random() % rarity != 0) continue;
      marks.set(i);
      if (i >= from && i < end) set.push_back(i);
    }
    const std::size_t enough = 1 + random() % (set.size() + 1);

    std::vector<std::size_t> visited;
    const bool was_enough = any_mark(marks, from, end, [&](std::size_t i) {
      visited.push_back(i);
      return visited.size() == enough;
    });

    EXPECT_EQ(was_enough, enough <= set.size());
    if (set.size() > enough) set.resize(enough);
    EXPECT_EQ(visited, set);
  });
}

TEST(CandidateKernels, TheBaselineRunsEverywhere) {
  EXPECT_EQ(std::string(candidate_kernels().back().name), "baseline");
}

}  // namespace
}  // namespace cairn::chunker
