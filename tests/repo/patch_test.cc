#include "repo/patch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;

// Empty: gave up.
Bytes encoded(const Bytes& plain, const Bytes& base,
              std::size_t room = std::size_t{8} << 20) {
  PatchEncoder encoder;
  Bytes patch(room);
  patch.resize(encoder.encode(plain, base, patch));
  return patch;
}

bool decodes(const Bytes& patch, const Bytes& base, const Bytes& plain) {
  Decompressor decompressor;
  PatchDecoder decoder;
  Bytes back(plain.size());
  return decoder.decode(patch, base, back, decompressor) && back == plain;
}

Bytes rows(std::mt19937_64& random, std::size_t size) {
  std::string text;
  for (std::uint64_t id = 1; text.size() < size; ++id) {
    text += std::to_string(id) + "\tcustomer-" +
            std::to_string(random() % 5000) + "\t" +
            std::to_string(random() % 1'000'000) + "\tactive\n";
  }
  return bytes_of(text);
}

// Pages whose first bytes change with every write to them.
Bytes pages(std::mt19937_64& random, std::size_t count) {
  Bytes bytes = random_bytes(random, count * 8192);
  for (std::size_t i = 0; i < count; ++i) bytes[i * 8192 + 1] = std::byte{0};
  return bytes;
}

// So far that nothing else is near: puts in, takes out, moves, overwrites.
Bytes edited(Bytes bytes, std::mt19937_64& random, std::size_t edits) {
  for (; edits > 0 && bytes.size() > 1000; --edits) {
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(
                                        random() % (bytes.size() - 1000));
    const auto count = static_cast<std::ptrdiff_t>(random() % 40);
    switch (random() % 4) {
      case 0: {
        const Bytes more =
            random_bytes(random, static_cast<std::size_t>(count));
        bytes.insert(at, more.begin(), more.end());
        break;
      }
      case 1:
        bytes.erase(at, at + count);
        break;
      case 2:
        std::rotate(at, at + count, at + 3 * count);
        break;
      default:
        *at ^= std::byte{0x55};
    }
  }
  return bytes;
}

TEST(Patch, WhatChangedALittleComesBack) {
  for_each_seed(300, [](auto& random) {
    const std::size_t size = 20'000 + random() % 100'000;
    const Bytes base =
        random() % 2 == 0 ? rows(random, size) : random_bytes(random, size);
    const Bytes plain = edited(base, random, random() % 8);
    const Bytes patch = encoded(plain, base);
    if (patch.empty()) return;
    EXPECT_LE(patch.size(), plain.size() / 32);
    EXPECT_TRUE(decodes(patch, base, plain));
  });
}

TEST(Patch, OneChangeTakesAFewBytes) {
  for_each_seed(50, [](auto& random) {
    const Bytes base = rows(random, 60'000);
    Bytes plain = base;
    plain[random() % plain.size()] ^= std::byte{0x55};
    const Bytes patch = encoded(plain, base);
    EXPECT_FALSE(patch.empty());
    EXPECT_LT(patch.size(), 30U);
    EXPECT_TRUE(decodes(patch, base, plain));
  });
}

TEST(Patch, EqualBlobsTakeAStep) {
  std::mt19937_64 random(1);
  const Bytes plain = random_bytes(random, 60'000);
  const Bytes patch = encoded(plain, plain);
  EXPECT_EQ(patch.size(), 3U);
  EXPECT_TRUE(decodes(patch, plain, plain));
}

TEST(Patch, ATruncatedOrLongerBlobComesBack) {
  for_each_seed(20, [](auto& random) {
    const Bytes base = rows(random, 60'000);
    const Bytes shorter(base.begin(), base.begin() + 50'000);
    EXPECT_TRUE(decodes(encoded(shorter, base), base, shorter));
    EXPECT_TRUE(decodes(encoded(base, base), base, base));
    Bytes longer = base;
    longer.insert(longer.end(), 30, std::byte{'x'});
    EXPECT_TRUE(decodes(encoded(longer, base), base, longer));
  });
}

// Two thousand literals: worth compressing, by themselves and with the steps.
TEST(Patch, LiteralsAndStepsComeBackCompressed) {
  std::mt19937_64 random(1);
  const Bytes text = rows(random, 200'000);
  Bytes plain = text;
  for (std::size_t at = 500; at < plain.size(); at += 2000) {
    std::ranges::fill(std::span(plain).subspan(at, 8), std::byte{'0'});
  }
  const Bytes of_text = encoded(plain, text);
  ASSERT_FALSE(of_text.empty());
  EXPECT_EQ(std::to_integer<unsigned>(of_text[0]) % 4,
            static_cast<unsigned>(Packed::literals));
  EXPECT_TRUE(decodes(of_text, text, plain));

  const Bytes base = pages(random, 16);
  plain = base;
  for (std::size_t at = 0; at < plain.size(); at += 1024) {
    std::ranges::fill(std::span(plain).subspan(at, 8), std::byte{3});
  }
  const Bytes of_pages = encoded(plain, base);
  ASSERT_FALSE(of_pages.empty());
  EXPECT_EQ(std::to_integer<unsigned>(of_pages[0]) % 4,
            static_cast<unsigned>(Packed::all));
  EXPECT_TRUE(decodes(of_pages, base, plain));
}

TEST(Patch, WhatIsNotNearlyTheSameIsLeftToZstd) {
  std::mt19937_64 random(1);
  const Bytes base = random_bytes(random, 60'000);
  EXPECT_TRUE(encoded(random_bytes(random, 60'000), base).empty());
  EXPECT_TRUE(encoded(base, {}).empty());
  EXPECT_TRUE(encoded(bytes_of("x"), bytes_of("x")).empty());
}

TEST(Patch, IsNoLargerThanTheRoomThereIs) {
  std::mt19937_64 random(1);
  const Bytes base = rows(random, 60'000);
  const Bytes plain = edited(base, random, 3);
  const Bytes patch = encoded(plain, base);
  ASSERT_FALSE(patch.empty());
  EXPECT_EQ(encoded(plain, base, patch.size()), patch);
  EXPECT_TRUE(encoded(plain, base, patch.size() - 1).empty());
  EXPECT_TRUE(encoded(plain, base, 0).empty());
}

TEST(Patch, AnEncoderIsAsGoodAsNewForTheNextBlob) {
  std::mt19937_64 random(1);
  PatchEncoder used;
  for (int i = 0; i < 50; ++i) {
    const Bytes base = rows(random, 10'000 + random() % 100'000);
    const Bytes plain = edited(base, random, random() % 20);
    Bytes patch(plain.size());
    patch.resize(used.encode(plain, base, patch));
    EXPECT_EQ(patch, encoded(plain, base, plain.size()));
  }
}

// Nothing is read or written outside of what there is, and what is taken gives
// as many bytes as were asked for; the sanitizers look on.
TEST(Patch, ADamagedPatchIsRefusedOrGivesBytes) {
  for_each_seed(300, [](auto& random) {
    const Bytes base = rows(random, 30'000);
    const Bytes plain = edited(base, random, 1 + random() % 4);
    Bytes patch = encoded(plain, base);
    if (patch.empty()) return;
    Decompressor decompressor;
    PatchDecoder decoder;
    Bytes back(plain.size());
    for (int i = 0; i < 30; ++i) {
      Bytes damaged = patch;
      damaged[random() % damaged.size()] = static_cast<std::byte>(random());
      if (random() % 3 == 0) damaged.resize(random() % damaged.size());
      (void)decoder.decode(damaged, base, back, decompressor);
    }
    const Bytes shorter_base(base.begin(), base.begin() + 100);
    EXPECT_FALSE(decoder.decode(patch, shorter_base, back, decompressor));
  });
}

}  // namespace
}  // namespace cairn::repo
