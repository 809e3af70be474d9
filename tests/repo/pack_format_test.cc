#include "repo/pack_format.h"

#include <gtest/gtest.h>

#include "crypto/digest.h"
#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/wire.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_id;

Directory random_directory(std::mt19937_64& random) {
  Directory directory;
  for (const auto key_class :
       {KeyClass::content, KeyClass::links, KeyClass::names}) {
    directory.keys.push_back(
        {key_class, static_cast<std::uint32_t>(random()), crypto::Wrapped{}});
  }
  for (auto n = random() % 20; n > 0; --n) {
    BlobRow row;
    row.kind = static_cast<BlobKind>(random() % 3);
    row.codec = static_cast<Codec>(random() % 4);
    row.id = random_id<BlobId>(random);
    row.plain_size = static_cast<std::uint32_t>(1 + random() % kMaxBlobBytes);
    row.stored_size = static_cast<std::uint32_t>(
        crypto::kTagBytes + (row.codec == Codec::raw
                                 ? row.plain_size
                                 : 1 + random() % row.plain_size));
    row.key = static_cast<std::uint32_t>(row.kind);
    row.counter = random() >> (random() % 64);
    if (is_difference(row.codec)) {
      row.base = random_id<BlobId>(random);
      row.depth = static_cast<std::uint32_t>(1 + random() % kMaxDepth);
    }
    directory.rows.push_back(row);
  }
  return directory;
}

Bytes encoded(const Directory& directory) {
  CborWriter out;
  write(out, directory);
  return std::move(out).take();
}

Directory decoded(const Bytes& bytes) {
  CborReader in(bytes, "directory");
  Directory directory = read_directory(in);
  in.end();
  return directory;
}

TEST(PackFormat, ADirectoryComesBackAsItWas) {
  for_each_seed(200, [](auto& random) {
    const Directory directory = random_directory(random);
    EXPECT_EQ(decoded(encoded(directory)), directory);
  });
}

TEST(PackFormat, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(2000, [](auto& random) {
    Bytes bytes = encoded(random_directory(random));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const Directory directory = decoded(bytes);
      EXPECT_EQ(encoded(directory), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

Directory with_row(const BlobRow& row) {
  Directory directory;
  directory.keys.push_back({KeyClass::content, 1, {}});
  directory.keys.push_back({KeyClass::links, 1, {}});
  directory.rows.push_back(row);
  return directory;
}

BlobRow sound_row() {
  BlobRow row;
  row.plain_size = 100;
  row.stored_size = 116;
  return row;
}

TEST(PackFormat, RowsThatCannotBeAreRefused) {
  const auto changed = [](auto change) {
    BlobRow row = sound_row();
    change(row);
    return encoded(with_row(row));
  };
  const Bytes rows[] = {
      changed([](BlobRow& r) { r.plain_size = 0; }),
      changed([](BlobRow& r) { r.stored_size = 16; }),
      changed([](BlobRow& r) { r.stored_size = 117; }),
      changed([](BlobRow& r) { r.stored_size = 115; }),  // raw, yet smaller
      changed([](BlobRow& r) { r.plain_size = kMaxBlobBytes + 1; }),
      changed([](BlobRow& r) { r.key = 2; }),          // no such key
      changed([](BlobRow& r) { r.key = 1; }),          // of another class
      changed([](BlobRow& r) { r.base = BlobId{}; }),  // raw with a base
      changed([](BlobRow& r) { r.codec = Codec::zstd_to_base; }),  // none
      changed([](BlobRow& r) { r.codec = Codec::patch; }),         // none
      changed([](BlobRow& r) {
        r.codec = Codec::zstd_to_base;
        r.base = BlobId{};  // depth 0
      }),
      changed([](BlobRow& r) {
        r.codec = Codec::zstd_to_base;
        r.base = BlobId{};
        r.depth = kMaxDepth + 1;
      }),
  };
  EXPECT_NO_THROW((void)decoded(encoded(with_row(sound_row()))));
  for (const Bytes& bytes : rows) {
    EXPECT_THROW((void)decoded(bytes), CorruptionError);
  }
}

TEST(PackFormat, AnUnknownKindCodecOrKeyClassIsUnsupported) {
  BlobRow kind = sound_row();
  kind.kind = static_cast<BlobKind>(3);
  BlobRow codec = sound_row();
  codec.codec = static_cast<Codec>(4);
  Directory key_class = with_row(sound_row());
  key_class.keys[1].key_class = static_cast<KeyClass>(3);
  EXPECT_THROW((void)decoded(encoded(with_row(kind))), UnsupportedFormat);
  EXPECT_THROW((void)decoded(encoded(with_row(codec))), UnsupportedFormat);
  EXPECT_THROW((void)decoded(encoded(key_class)), UnsupportedFormat);
}

class SealedDirectory : public ::testing::Test {
 protected:
  Directory open(std::span<const std::byte> bytes) const {
    return open_directory(key, head, kOffset, bytes, "pack");
  }

  static constexpr std::uint64_t kOffset = 1000;
  crypto::Secret key = crypto::Secret::random();
  PackHead head = new_pack_head(1);
  Directory directory = with_row(sound_row());
  Bytes sealed = seal_directory(key, head, kOffset, directory);
};

TEST_F(SealedDirectory, OpensToWhatWasSealed) {
  EXPECT_EQ(open(sealed), directory);
  EXPECT_EQ(sealed.size(), kDirectoryStep);
}

TEST_F(SealedDirectory, EveryFlippedByteIsNoticed) {
  for (std::size_t at = 0; at < sealed.size(); at += 97) {
    Bytes flipped = sealed;
    flipped[at] ^= std::byte{0x10};
    EXPECT_THROW((void)open(flipped), CorruptionError);
  }
}

TEST_F(SealedDirectory, AnotherOffsetOrSaltIsNoticed) {
  PackHead other = head;
  other[20] ^= std::byte{1};
  EXPECT_THROW((void)open_directory(key, head, kOffset + 1, sealed, "pack"),
               CorruptionError);
  EXPECT_THROW((void)open_directory(key, other, kOffset, sealed, "pack"),
               CorruptionError);
}

TEST_F(SealedDirectory, BytesThatAreNoWholeStepsAreRefused) {
  EXPECT_THROW((void)open({}), CorruptionError);
  EXPECT_THROW((void)open(std::span(sealed).first(10)), CorruptionError);
}

TEST_F(SealedDirectory, RowsThatReachPastTheirRoomAreRefused) {
  const Bytes early = seal_directory(key, head, 100, directory);
  EXPECT_THROW((void)open_directory(key, head, 100, early, "pack"),
               CorruptionError);
}

TEST_F(SealedDirectory, PaddingOtherThanZerosIsRefused) {
  Bytes plain(kDirectoryStep - crypto::kTagBytes);
  const Bytes cbor = encoded(directory);
  wire::put_u32(std::span(plain).first<4>(),
                static_cast<std::uint32_t>(cbor.size()));
  std::ranges::copy(cbor, plain.begin() + 4);
  plain.back() = std::byte{1};
  Bytes ad(head.begin(), head.end());
  ad.resize(head.size() + 8);
  wire::put_u64(std::span(ad).last<8>(), kOffset);
  Bytes bytes(kDirectoryStep);
  crypto::seal(crypto::derive(key, "cairn directory",
                              std::span(head).subspan(kPrologueBytes)),
               ad, plain, bytes);
  EXPECT_THROW((void)open(bytes), CorruptionError);
}

TEST(PackFormat, OnlyTrailersThatFitAreTaken) {
  const std::uint64_t size = kPackHeadBytes + kDirectoryStep + kTrailerBytes;
  const auto trailer = encode_trailer(kDirectoryStep);
  EXPECT_EQ(decode_trailer(trailer, size, "pack"), kDirectoryStep);
  EXPECT_THROW((void)decode_trailer(trailer, size - 1, "pack"),
               CorruptionError);
  for (const std::uint32_t wrong : {0U, 1U, 16385U, 0xffffc000U}) {
    EXPECT_THROW((void)decode_trailer(encode_trailer(wrong), 1U << 30, "pack"),
                 CorruptionError);
  }
}

TEST(PackFormat, NamesOfPacksAreParsedStrictly) {
  std::mt19937_64 random(1);
  const auto id = random_id<PackId>(random);
  const std::string name = pack_name(id);
  EXPECT_EQ(parse_pack_name(name), id);
  for (const std::string& wrong :
       {name + "0", name.substr(1), "packs/" + id.hex(), std::string("packs/"),
        "packs/zz/" + id.hex(), std::string("packs/ab/")}) {
    EXPECT_FALSE(parse_pack_name(wrong)) << wrong;
  }
}

TEST(PackFormat, PadmeNeverShrinksAndAddsAtMostAnEighth) {
  for_each_seed(1000, [](auto& random) {
    const std::uint64_t size = random() >> (20 + random() % 40);
    EXPECT_GE(padme(size), size);
    EXPECT_LE(padme(size), size + size / 8 + 1);
    EXPECT_EQ(padme(padme(size)), padme(size));
  });
}

TEST(PackFormat, EveryFieldOfARowChangesWhatItsSealBinds) {
  BlobRow row = sound_row();
  const auto ad = associated_data(FamilyId{}, 1, row);
  const auto changed = [&](auto change) {
    BlobRow other = row;
    change(other);
    return associated_data(FamilyId{}, 1, other);
  };
  EXPECT_NE(changed([](BlobRow& r) { r.kind = BlobKind::names; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { r.codec = Codec::zstd; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { r.id.bytes[0] = std::byte{1}; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { ++r.plain_size; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { ++r.stored_size; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { ++r.counter; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { r.base = BlobId{}; }), ad);
  EXPECT_NE(changed([](BlobRow& r) { ++r.depth; }), ad);
  EXPECT_NE(associated_data(FamilyId{}, 2, row), ad);
  EXPECT_EQ(changed([](BlobRow& r) { ++r.key; }), ad);  // packs may differ
}

}  // namespace
}  // namespace cairn::repo
