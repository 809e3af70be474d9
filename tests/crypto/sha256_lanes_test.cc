#include "crypto/sha256_lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

class Sha256Lanes : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_sha256_lanes()) GTEST_SKIP() << "no SHA instructions here";
  }
};

Sha256Words after(const Sha256Words& state, std::span<const std::byte> blocks) {
  std::array<Sha256Lane, 1> lane = {{{state, blocks}}};
  add_blocks(lane, blocks.size() / kSha256BlockBytes);
  EXPECT_TRUE(lane[0].blocks.empty());
  return lane[0].state;
}

TEST_F(Sha256Lanes, GiveTheAnswerOfFips180) {
  // "abc", padded by hand.
  std::array<std::byte, kSha256BlockBytes> block{};
  std::memcpy(block.data(), "abc\x80", 4);
  block.back() = std::byte{24};

  const auto words = after({}, block).words;

  EXPECT_EQ(words, (std::array<std::uint32_t, 8>{
                       0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                       0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad}));
}

TEST_F(Sha256Lanes, DoNotKnowOfEachOther) {
  for_each_seed(300, [](auto& random) {
    const Bytes input = random_bytes(random, 64 * 64);
    std::vector<Sha256Lane> lanes(1 + random() % kSha256Lanes);
    const std::size_t count = random() % 20;
    std::vector<Sha256Words> expected;
    for (auto& lane : lanes) {
      for (auto& word : lane.state.words) {
        word = static_cast<std::uint32_t>(random());
      }
      // From anywhere, and longer than what is to be added.
      lane.blocks =
          std::span(input).subspan(random() % 64, 64 * (20 + random() % 40));
      Sha256Words state = lane.state;
      for (std::size_t i = 0; i < count; ++i) {
        state = after(state, lane.blocks.subspan(64 * i, 64));
      }
      expected.push_back(state);
    }
    const auto before = lanes;

    add_blocks(lanes, count);

    for (std::size_t i = 0; i < lanes.size(); ++i) {
      EXPECT_EQ(lanes[i].state.words, expected[i].words) << i;
      EXPECT_EQ(lanes[i].blocks.data(), before[i].blocks.data() + 64 * count);
      EXPECT_EQ(lanes[i].blocks.size(), before[i].blocks.size() - 64 * count);
    }
  });
}

TEST_F(Sha256Lanes, HashAsOpenSslDoes) {
  for_each_seed(200, [](auto& random) {
    Bytes text = random_bytes(random, 64 * (random() % 40));
    const std::uint64_t bits = 8 * text.size();
    const Digest expected = sha256(text);
    text.push_back(std::byte{0x80});
    text.resize((text.size() + 63) / 64 * 64);
    for (std::size_t i = 0; i < 8; ++i) {
      text[text.size() - 1 - i] = static_cast<std::byte>(bits >> (8 * i));
    }

    const auto words = after({}, text).words;

    Bytes digest;
    for (const std::uint32_t word : words) {
      for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        digest.push_back(static_cast<std::byte>(word >> shift));
      }
    }
    EXPECT_TRUE(std::ranges::equal(digest, expected));
  });
}

}  // namespace
}  // namespace cairn::crypto
