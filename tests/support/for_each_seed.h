// Properties over many random inputs, each replayable by its seed.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace cairn::testing_support {

// Runs `property` on many seeds. A failure names its seed; CAIRN_SEED=<n>
// replays that one alone.
template <typename Property>
void for_each_seed(std::uint64_t runs, Property property) {
  std::uint64_t first = 1;
  if (const char* only = std::getenv("CAIRN_SEED")) {
    first = std::stoull(only);
    runs = 1;
  }
  for (std::uint64_t seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE("CAIRN_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    property(random);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace cairn::testing_support
