#include "repo/blob_codec.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "crypto/seal.h"
#include "repo/error.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::SampleRepository;
using testing_support::slightly_changed;

Bytes decode(const SampleRepository& sample, const EncodedBlob& blob,
             const Bytes& base = {}) {
  const KeyClass key_class = class_of(blob.row.kind);
  BlobDecoder decoder;
  Bytes plain(blob.row.plain_size);
  decoder.decode(
      sample.keyring.family(), sample.keys.wrapped(key_class).generation,
      sample.keys.key(key_class), blob.row, blob.stored, base, plain);
  return plain;
}

TEST(BlobCodec, WhatWasEncodedComesBack) {
  for_each_seed(50, [](auto& random) {
    SampleRepository sample;
    Bytes plain = random_bytes(random, 1 + random() % 50'000);
    if (random() % 2 == 0) plain.resize(plain.size() * 2);
    const auto kind = static_cast<BlobKind>(random() % 3);

    const auto blob = sample.encode(plain, kind);

    EXPECT_EQ(decode(sample, blob), plain);
    EXPECT_EQ(blob.row.id, sample.id_of(plain, kind));
    EXPECT_EQ(blob.stored.size(), blob.row.stored_size);
    EXPECT_LE(blob.stored.size(), plain.size() + crypto::kTagBytes);
  });
}

TEST(BlobCodec, WhatCannotBeCompressedIsStoredAsItIs) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{2}, std::size_t{64} << 10, kMaxBlobBytes}) {
    const Bytes plain = random_bytes(random, size);
    const auto blob = sample.encode(plain);
    EXPECT_EQ(blob.row.codec, Codec::raw);
    EXPECT_EQ(blob.stored.size(), size + crypto::kTagBytes);
    EXPECT_EQ(decode(sample, blob), plain);
  }
}

TEST(BlobCodec, TheLargestBlobMayBeCompressed) {
  SampleRepository sample;
  const Bytes plain(kMaxBlobBytes);
  const auto blob = sample.encode(plain);
  EXPECT_EQ(blob.row.codec, Codec::zstd);
  EXPECT_EQ(decode(sample, blob), plain);
}

TEST(BlobCodec, ALikeBaseMakesASmallDifference) {
  for_each_seed(10, [](auto& random) {
    SampleRepository sample;
    const Bytes base = random_bytes(random, 60'000);
    const Bytes plain = slightly_changed(base, random);

    const auto blob = sample.encode(plain, BlobKind::content,
                                    Base{sample.id_of(base), 4, base});

    EXPECT_EQ(blob.row.codec, Codec::patch);
    EXPECT_EQ(blob.row.base, sample.id_of(base));
    EXPECT_EQ(blob.row.depth, 5U);
    EXPECT_LT(blob.stored.size(), 100U);
    EXPECT_EQ(decode(sample, blob, base), plain);
  });
}

// Half of it moved: no patch, but a difference.
TEST(BlobCodec, WhatIsTooFarFromItsBaseForAPatchZstdWrites) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const Bytes base = random_bytes(random, 60'000);
  Bytes plain = base;
  std::rotate(plain.begin(), plain.begin() + 30'000, plain.end());

  const auto blob = sample.encode(plain, BlobKind::content,
                                  Base{sample.id_of(base), 0, base});

  EXPECT_EQ(blob.row.codec, Codec::zstd_to_base);
  EXPECT_EQ(decode(sample, blob, base), plain);
}

TEST(BlobCodec, MaxCompressionTakesTheSmallerOfPatchAndZstd) {
  for_each_seed(20, [](auto& random) {
    SampleRepository sample;
    const Bytes base = random_bytes(random, 60'000);
    Bytes plain = base;
    // In the base, where only zstd looks.
    std::ranges::copy(std::span(base).first(200), plain.begin() + 40'000);
    const std::optional<Base> given = Base{sample.id_of(base), 0, base};
    const auto encoded = [&](const CompressionLevels& levels) {
      BlobEncoder encoder(sample.keyring, sample.keys, levels);
      return encoder.encode(BlobKind::content, sample.id_of(plain), plain,
                            testing_support::one_base(given));
    };

    EXPECT_EQ(encoded({}).row.codec, Codec::patch);
    const auto blob = encoded(kMaxCompression);
    EXPECT_EQ(blob.row.codec, Codec::zstd_to_base);
    EXPECT_EQ(decode(sample, blob, base), plain);
  });
}

// What is nearly nothing alone is not worth a base, however small a share of
// it the difference is.
TEST(BlobCodec, ABaseOfWhatCompressesBestAloneIsNotUsed) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const auto rows = [&] {
    Bytes bytes;
    const Bytes row = random_bytes(random, 64);
    while (bytes.size() < 64'000) {
      bytes.insert(bytes.end(), row.begin(), row.end());
    }
    return bytes;
  };
  const Bytes base = rows();
  const Bytes plain = rows();
  const auto alone = sample.encode(plain);
  const auto whole = sample.encode(base);

  const auto blob = sample.encode(
      plain, BlobKind::content,
      Base{.id = sample.id_of(base),
           .plain = base,
           .compresses_to = static_cast<double>(whole.row.stored_size) /
                            static_cast<double>(base.size())});

  EXPECT_LE(blob.stored.size(), alone.stored.size());
  EXPECT_FALSE(blob.row.base);
}

TEST(BlobCodec, AnUnlikeBaseIsNotUsed) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const Bytes base = random_bytes(random, 60'000);
  const Bytes plain = random_bytes(random, 60'000);
  const auto blob = sample.encode(plain, BlobKind::content,
                                  Base{sample.id_of(base), 0, base});
  EXPECT_EQ(blob.row.codec, Codec::raw);
  EXPECT_FALSE(blob.row.base);
  EXPECT_EQ(blob.row.depth, 0U);
}

TEST(BlobCodec, ADifferenceAboveWhatIsAllowedIsNotUsed) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  const Bytes base = random_bytes(random, 60'000);
  const Bytes plain = slightly_changed(base, random);
  const auto encoded = [&](std::uint32_t allowed) {
    const std::optional<Base> given =
        Base{sample.id_of(base), 0, base, allowed};
    return encoder.encode(BlobKind::content, sample.id_of(plain), plain,
                          testing_support::one_base(given));
  };
  for (const std::uint32_t allowed : {0U, 16U, 20U}) {
    EXPECT_EQ(encoded(allowed).row.codec, Codec::raw);
  }
  const auto blob = encoded(10'000);
  EXPECT_EQ(blob.row.codec, Codec::patch);
  EXPECT_EQ(encoded(blob.row.stored_size - 1).row.codec, Codec::raw);
}

// Halves of two texts whose words are the same: a tenth smaller as a
// difference.
TEST(BlobCodec, TheBlobBeforeWillDoForTheLittleThatItSaves) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  std::vector<Bytes> words;
  for (int i = 0; i < 300; ++i) words.push_back(random_bytes(random, 24));
  const auto text = [&] {
    Bytes bytes;
    while (bytes.size() < 30'000) {
      const Bytes& word = words[random() % words.size()];
      bytes.insert(bytes.end(), word.begin(), word.end());
    }
    return bytes;
  };
  const Bytes first = text();
  const Bytes plain = text();
  const Base first_as_base{sample.id_of(first), 0, first};
  const auto encoded = [&](const NextBase& bases, const Base* before) {
    return encoder.encode(BlobKind::content, sample.id_of(plain), plain, bases,
                          before);
  };
  const auto no_base = [] { return nullptr; };
  const auto alone = encoded(no_base, nullptr);

  const auto blob = encoded(no_base, &first_as_base);

  EXPECT_EQ(blob.row.codec, Codec::zstd_to_base);
  EXPECT_EQ(blob.row.base, first_as_base.id);
  EXPECT_LT(blob.row.stored_size, alone.row.stored_size);
  EXPECT_EQ(decode(sample, blob, first), plain);

  Base in_narrow_room = first_as_base;
  in_narrow_room.max_stored = blob.row.stored_size - 1;
  EXPECT_EQ(encoded(no_base, &in_narrow_room).row.codec, Codec::zstd);

  const Bytes nearly = slightly_changed(plain, random);
  const std::optional<Base> better = Base{sample.id_of(nearly), 0, nearly};
  EXPECT_EQ(encoded(testing_support::one_base(better), &first_as_base).row.base,
            better->id);
}

// Its difference is small enough to be tried, and too large to be worth it.
TEST(BlobCodec, TheBlobBeforeIsTakenAfterABaseThatIsNotWorthIt) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  const Bytes plain = random_bytes(random, 60'000);
  Bytes tenth = random_bytes(random, 60'000);
  std::ranges::copy(std::span(plain).first(6'000), tenth.begin());
  Bytes fifth = random_bytes(random, 60'000);
  std::ranges::copy(std::span(plain).last(9'000), fifth.begin());
  const std::optional<Base> elsewhere = Base{sample.id_of(tenth), 0, tenth};
  const Base before{sample.id_of(fifth), 0, fifth};

  const auto blob =
      encoder.encode(BlobKind::content, sample.id_of(plain), plain,
                     testing_support::one_base(elsewhere), &before);

  EXPECT_EQ(blob.row.base, before.id);
  EXPECT_EQ(decode(sample, blob, fifth), plain);
  const auto without =
      encoder.encode(BlobKind::content, sample.id_of(plain), plain,
                     testing_support::one_base(elsewhere));
  EXPECT_EQ(without.row.codec, Codec::raw);
}

TEST(BlobCodec, TheBaseWithTheSmallestDifferenceIsTaken) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  const Bytes plain = random_bytes(random, 60'000);
  Bytes half = plain;
  std::ranges::copy(random_bytes(random, 30'000), half.begin());
  Bytes most = plain;
  std::ranges::copy(random_bytes(random, 5'000), most.begin());
  const Bytes none = random_bytes(random, 60'000);
  const std::vector<Base> bases = {{sample.id_of(half), 0, half},
                                   {sample.id_of(most), 3, most},
                                   {sample.id_of(none), 0, none}};
  std::size_t given = 0;

  const auto blob = encoder.encode(
      BlobKind::content, sample.id_of(plain), plain, [&]() -> const Base* {
        return given < bases.size() ? &bases[given++] : nullptr;
      });

  EXPECT_EQ(blob.row.base, sample.id_of(most));
  EXPECT_EQ(blob.row.depth, 4U);
  EXPECT_EQ(decode(sample, blob, most), plain);
}

TEST(BlobCodec, NoFurtherBaseIsAskedForOnceADifferenceIsSmall) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  const Bytes base = random_bytes(random, 60'000);
  const Bytes plain = slightly_changed(base, random);
  const Base only{sample.id_of(base), 0, base};
  int asked = 0;

  const auto blob = encoder.encode(BlobKind::content, sample.id_of(plain),
                                   plain, [&]() -> const Base* {
                                     ++asked;
                                     return &only;
                                   });

  EXPECT_EQ(blob.row.base, only.id);
  EXPECT_EQ(asked, 1);
}

TEST(BlobCodec, AnotherBaseIsNoticedByItsId) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const Bytes base = random_bytes(random, 60'000);
  const Bytes plain = slightly_changed(base, random);
  const auto blob = sample.encode(plain, BlobKind::content,
                                  Base{sample.id_of(base), 0, base});
  const Bytes other = random_bytes(random, 60'000);
  try {
    EXPECT_NE(decode(sample, blob, other), plain);
  } catch (const CorruptionError&) {
  }
}

TEST(BlobCodec, EveryFlippedBitIsNoticed) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const Bytes base = random_bytes(random, 300);
  Bytes compressible = random_bytes(random, 30);
  compressible.resize(300);
  const EncodedBlob blobs[] = {
      sample.encode(random_bytes(random, 50)), sample.encode(compressible),
      sample.encode(slightly_changed(base, random), BlobKind::content,
                    Base{sample.id_of(base), 0, base})};
  for (const auto& blob : blobs) {
    for (std::size_t bit = 0; bit < 8 * blob.stored.size(); ++bit) {
      EncodedBlob flipped = blob;
      flipped.stored[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      EXPECT_THROW((void)decode(sample, flipped, base), CorruptionError);
    }
  }
}

TEST(SessionKeys, ThoseThatDoNotUnwrapAreRefused) {
  const SampleRepository sample;
  EXPECT_NO_THROW(sample.keys.require_unwrap(sample.keyring));
  EXPECT_THROW(sample.keys.require_unwrap(Keyring::create()), CorruptionError);
}

TEST(BlobCodec, WhatChangedSinceItGotItsIdIsRefused) {
  SampleRepository sample;
  Bytes plain(1000);
  const auto sum = memory_sum(plain);
  const auto id = sample.id_of(plain);
  EXPECT_NO_THROW(require_unchanged(id, plain, sum));
  plain[500] ^= std::byte{1};
  EXPECT_THROW(require_unchanged(id, plain, sum), CorruptionError);
}

TEST(BlobCodec, ABlobThatClaimsAnotherSizeIsRefused) {
  SampleRepository sample;
  auto blob = sample.encode(Bytes(1000));
  ++blob.row.plain_size;
  EXPECT_THROW((void)decode(sample, blob), CorruptionError);
  blob.row.plain_size = 1;
  EXPECT_THROW((void)decode(sample, blob), CorruptionError);
  blob = sample.encode(Bytes(1000));
  blob.stored.resize(10);
  EXPECT_THROW((void)decode(sample, blob), CorruptionError);
}

TEST(BlobCodec, NoTwoBlobsOfASessionShareACounter) {
  SampleRepository sample;
  const auto first = sample.encode(Bytes(10));
  const auto second = sample.encode(Bytes(10));
  EXPECT_NE(first.row.counter, second.row.counter);
  EXPECT_NE(first.stored, second.stored);
}

#ifndef __SANITIZE_THREAD__
// Memory that changes while it is read, as failing memory does.
TEST(BlobCodec, ABlobThatDoesNotReadBackIsRefused) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  Bytes plain = random_bytes(random, kMaxBlobBytes);
  const auto id = sample.id_of(plain);
  BlobEncoder encoder(sample.keyring, sample.keys, {});
  std::atomic<bool> is_done = false;
  std::jthread flipper([&] {
    std::uint8_t value = 0;
    while (!is_done) {
      for (std::size_t at = 0; at < plain.size(); at += 4096) {
        std::atomic_ref(plain[at]).store(static_cast<std::byte>(value));
      }
      ++value;
    }
  });
  const auto encode = [&] {
    for (int tries = 0; tries < 50; ++tries) {
      (void)encoder.encode(BlobKind::content, id, plain);
    }
  };
  EXPECT_THROW(encode(), CorruptionError);
  is_done = true;
}
#endif

}  // namespace
}  // namespace cairn::repo
