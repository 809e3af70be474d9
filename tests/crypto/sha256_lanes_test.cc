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

// What a test is made with: a kernel of this machine, or what chooses from
// them.
std::vector<Sha256Kernel> all_ways() {
  std::vector<Sha256Kernel> ways(sha256_kernels().begin(),
                                 sha256_kernels().end());
  if (sha256_lanes() > 0) ways.push_back({"any", sha256_lanes(), add_blocks});
  return ways;
}

class Sha256Lanes : public testing::TestWithParam<Sha256Kernel> {
 protected:
  static Sha256Words after(const Sha256Words& state,
                           std::span<const std::byte> blocks) {
    std::array<Sha256Lane, 1> lane = {{{state, blocks}}};
    GetParam().add_blocks(lane, blocks.size() / kSha256BlockBytes);
    EXPECT_TRUE(lane[0].blocks.empty());
    return lane[0].state;
  }
};
// No machine without the instructions has anything to test.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Sha256Lanes);
INSTANTIATE_TEST_SUITE_P(Kernels, Sha256Lanes, testing::ValuesIn(all_ways()),
                         [](const auto& way) { return way.param.name; });

TEST_P(Sha256Lanes, GiveTheAnswerOfFips180) {
  // "abc", padded by hand.
  std::array<std::byte, kSha256BlockBytes> block{};
  std::memcpy(block.data(), "abc\x80", 4);
  block.back() = std::byte{24};

  const auto words = after({}, block).words;

  EXPECT_EQ(words, (std::array<std::uint32_t, 8>{
                       0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                       0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad}));
}

TEST_P(Sha256Lanes, DoNotKnowOfEachOther) {
  for_each_seed(300, [](auto& random) {
    const Bytes input = random_bytes(random, 64 * 64);
    std::vector<Sha256Lane> lanes(1 + random() % GetParam().lanes);
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

    GetParam().add_blocks(lanes, count);

    for (std::size_t i = 0; i < lanes.size(); ++i) {
      EXPECT_EQ(lanes[i].state.words, expected[i].words) << i;
      EXPECT_EQ(lanes[i].blocks.data(), before[i].blocks.data() + 64 * count);
      EXPECT_EQ(lanes[i].blocks.size(), before[i].blocks.size() - 64 * count);
    }
  });
}

Bytes padded(Bytes text) {
  const std::uint64_t bits = 8 * text.size();
  text.push_back(std::byte{0x80});
  text.resize((text.size() + 8 + 63) / 64 * 64);
  for (std::size_t i = 0; i < 8; ++i) {
    text[text.size() - 1 - i] = static_cast<std::byte>(bits >> (8 * i));
  }
  return text;
}

Digest digest_of(const Sha256Words& state) {
  Digest digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] =
        static_cast<std::byte>(state.words[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

// Each lane goes to the end of its own text, in steps, so that most of what is
// compared began from a state that is as good as random.
TEST_P(Sha256Lanes, HashAsOpenSslDoes) {
  for_each_seed(200, [](auto& random) {
    const std::size_t texts = 1 + random() % GetParam().lanes;
    std::vector<Digest> expected(texts);
    std::vector<Bytes> blocks(texts);
    std::vector<Sha256Lane> lanes(texts);
    std::vector<std::size_t> text_of(texts);  // that is in the lane
    for (std::size_t i = 0; i < texts; ++i) {
      const Bytes text = random_bytes(random, random() % 3'000);
      expected[i] = sha256(text);
      blocks[i] = padded(text);
      const std::size_t size = blocks[i].size();
      const std::size_t from = random() % 64;  // at no particular address
      blocks[i].insert(blocks[i].begin(), from, std::byte{0xff});
      lanes[i].blocks = std::span(blocks[i]).last(size);
      text_of[i] = i;
    }

    while (!lanes.empty()) {
      const auto shortest = std::ranges::min_element(
          lanes, {}, [](const auto& lane) { return lane.blocks.size(); });
      const std::size_t left = shortest->blocks.size() / kSha256BlockBytes;
      GetParam().add_blocks(lanes, left == 0 ? 0 : 1 + random() % left);
      if (!shortest->blocks.empty()) continue;
      const auto number = shortest - lanes.begin();
      EXPECT_EQ(digest_of(shortest->state),
                expected[text_of[static_cast<std::size_t>(number)]]);
      lanes.erase(shortest);
      text_of.erase(text_of.begin() + number);
    }
  });
}

// Not always of the widest: where that is no faster it is left alone.
TEST(Sha256LanesOfThisMachine, AreThoseOfOneOfItsKernels) {
  std::size_t widest = 0;
  bool is_one = sha256_kernels().empty() && sha256_lanes() == 0;
  for (const auto& kernel : sha256_kernels()) {
    EXPECT_GT(kernel.lanes, widest) << kernel.name;
    widest = kernel.lanes;
    is_one = is_one || sha256_lanes() == kernel.lanes;
  }
  EXPECT_TRUE(is_one) << sha256_lanes();
  EXPECT_LE(widest, kMaxSha256Lanes);
}

}  // namespace
}  // namespace cairn::crypto
