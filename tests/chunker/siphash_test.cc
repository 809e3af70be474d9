#include "chunker/siphash.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <array>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::chunker {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

TEST(SipHash, GivesTheAnswerOfItsPaper) {
  // Appendix A: key 00 .. 0f, input 00 .. 0e.
  Bytes counting(16);
  for (std::size_t i = 0; i < counting.size(); ++i) {
    counting[i] = static_cast<std::byte>(i);
  }
  const SipHashKey key{.low = load_le64(counting.data()),
                       .high = load_le64(counting.data() + 8)};

  EXPECT_EQ(siphash_2_4(key, std::span(counting).first(15)),
            0xa129ca6149be45e5U);
}

TEST(SipHash, AgreesWithLibsodium) {
  for_each_seed(500, [](auto& random) {
    const Bytes key = random_bytes(random, crypto_shorthash_KEYBYTES);
    const Bytes input = random_bytes(random, random() % 300);
    std::array<std::byte, crypto_shorthash_BYTES> expected;
    crypto_shorthash(reinterpret_cast<unsigned char*>(expected.data()),
                     reinterpret_cast<const unsigned char*>(input.data()),
                     input.size(),
                     reinterpret_cast<const unsigned char*>(key.data()));

    const std::uint64_t hash = siphash_2_4(
        {.low = load_le64(key.data()), .high = load_le64(key.data() + 8)},
        input);

    EXPECT_EQ(hash, load_le64(expected.data()));
  });
}

}  // namespace
}  // namespace cairn::chunker
