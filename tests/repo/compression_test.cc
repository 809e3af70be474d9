#include "repo/compression.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;

Bytes compressible(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i / 64);
  }
  return bytes;
}

TEST(Compression, PlainBytesComeBack) {
  Compressor compressor(3, Compressor::Use::whole);
  Decompressor decompressor;
  for (const std::size_t size : {1U, 100U, 70'000U, 8U << 20}) {
    const Bytes plain = compressible(size);
    Bytes frame(size + 100);
    frame.resize(compressor.compress(plain, frame));
    Bytes back(size);
    EXPECT_TRUE(decompressor.decompress(frame, {}, back));
    EXPECT_EQ(back, plain);
  }
}

TEST(Compression, DifferencesComeBackWithTheirBaseAndNotWithAnother) {
  for_each_seed(20, [](auto& random) {
    Compressor compressor(1, Compressor::Use::difference);
    Decompressor decompressor;
    const Bytes base = random_bytes(random, 60'000);
    const Bytes plain = testing_support::slightly_changed(base, random);
    Bytes frame(plain.size());
    frame.resize(compressor.compress_difference(plain, base, frame));
    Bytes back(plain.size());

    EXPECT_LT(frame.size(), 200U);
    EXPECT_TRUE(decompressor.decompress(frame, base, back));
    EXPECT_EQ(back, plain);
    const Bytes other = random_bytes(random, base.size());
    EXPECT_FALSE(decompressor.decompress(frame, other, back) && back == plain);
  });
}

// Its bytes are taken as they are, and nobody looks for tables in them.
TEST(Compression, ABaseMayBeginLikeADictionary) {
  std::mt19937_64 random(1);
  Compressor compressor(1, Compressor::Use::difference);
  Decompressor decompressor;
  Bytes base = random_bytes(random, 60'000);
  std::ranges::copy(bytes_of("\x37\xa4\x30\xec"), base.begin());
  Bytes plain = base;
  plain[30'000] ^= std::byte{1};
  Bytes frame(plain.size());
  frame.resize(compressor.compress_difference(plain, base, frame));
  Bytes back(plain.size());

  EXPECT_LT(frame.size(), 200U);
  EXPECT_TRUE(decompressor.decompress(frame, base, back));
  EXPECT_EQ(back, plain);
}

TEST(Compression, ADifferenceThatDidNotFitLeavesNothingBehind) {
  std::mt19937_64 random(1);
  Compressor compressor(1, Compressor::Use::difference);
  Decompressor decompressor;
  const Bytes base = random_bytes(random, 60'000);
  const Bytes stranger = random_bytes(random, 60'000);
  Bytes room(100);
  Bytes frame(60'000);
  Bytes back(60'000);

  EXPECT_EQ(compressor.compress_difference(stranger, base, room), 0U);
  const Bytes alike = testing_support::slightly_changed(base, random);
  frame.resize(compressor.compress_difference(alike, base, frame));
  ASSERT_NE(frame.size(), 0U);
  EXPECT_TRUE(decompressor.decompress(frame, base, back));
  EXPECT_EQ(back, alike);
}

TEST(Compression, AFrameOfAnotherSizeIsRefused) {
  Compressor compressor(3, Compressor::Use::whole);
  Decompressor decompressor;
  const Bytes plain = compressible(1000);
  Bytes frame(1000);
  frame.resize(compressor.compress(plain, frame));
  for (const std::size_t size : {0U, 999U, 1001U}) {
    Bytes back(size);
    EXPECT_FALSE(decompressor.decompress(frame, {}, back));
  }
}

TEST(Compression, BytesBehindTheFrameAndASecondFrameAreRefused) {
  Compressor compressor(3, Compressor::Use::whole);
  Decompressor decompressor;
  const Bytes plain = compressible(1000);
  Bytes frame(1000);
  frame.resize(compressor.compress(plain, frame));
  Bytes twice = frame;
  twice.insert(twice.end(), frame.begin(), frame.end());
  Bytes longer = frame;
  longer.push_back({});
  Bytes back(2000);
  EXPECT_FALSE(decompressor.decompress(twice, {}, back));
  back.resize(1000);
  EXPECT_FALSE(decompressor.decompress(longer, {}, back));
}

TEST(Compression, AWindowAbove16MiBIsRefused) {
  // Not one segment; window 2^24 or 9/8 of it; one last raw block "a".
  const auto frame_with_window = [](unsigned window) {
    Bytes frame(10);
    const unsigned char bytes[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0, 9, 0, 0, 'a'};
    for (std::size_t i = 0; i < frame.size(); ++i)
      frame[i] = std::byte{bytes[i]};
    frame[5] = static_cast<std::byte>(window);
    return frame;
  };
  Decompressor decompressor;
  Bytes back(1);
  EXPECT_TRUE(decompressor.decompress(frame_with_window(14 << 3), {}, back));
  EXPECT_EQ(back, bytes_of("a"));
  EXPECT_FALSE(
      decompressor.decompress(frame_with_window(14 << 3 | 1), {}, back));
  EXPECT_FALSE(decompressor.decompress(frame_with_window(17 << 3), {}, back));
}

TEST(Compression, ASkippableFrameIsRefused) {
  Bytes frame(8);
  frame[0] = std::byte{0x50};
  frame[1] = std::byte{0x2a};
  frame[2] = std::byte{0x4d};
  frame[3] = std::byte{0x18};
  Decompressor decompressor;
  Bytes nothing;
  EXPECT_FALSE(decompressor.decompress(frame, {}, nothing));
}

TEST(Compression, RandomFramesNeverGiveMoreThanTheirRoom) {
  for_each_seed(300, [](auto& random) {
    Compressor compressor(3, Compressor::Use::whole);
    Decompressor decompressor;
    const Bytes plain = compressible(3000);
    Bytes frame(3000);
    frame.resize(compressor.compress(plain, frame));
    frame[random() % frame.size()] = static_cast<std::byte>(random());
    Bytes back(random() % 4000);
    (void)decompressor.decompress(frame, {}, back);
  });
}

}  // namespace
}  // namespace cairn::repo
