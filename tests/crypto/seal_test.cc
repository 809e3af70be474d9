#include "crypto/seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;

Bytes bytes_from_hex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

Bytes sealed(const Secret& key, const Bytes& associated, const Bytes& plain) {
  Bytes result(plain.size() + kTagBytes);
  seal(key, associated, plain, result);
  return result;
}

std::optional<Bytes> opened(const Secret& key, const Bytes& associated,
                            const Bytes& sealed_bytes) {
  Bytes plain(
      sealed_bytes.size() < kTagBytes ? 0 : sealed_bytes.size() - kTagBytes);
  if (!open(key, associated, sealed_bytes, plain)) return std::nullopt;
  return plain;
}

void flip(Bytes& bytes, std::size_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

// Key, associated data and text are those of draft-irtf-cfrg-xchacha A.3; the
// nonce is ours, the first 24 bytes of SHA-256 of the associated data. Made
// with PyNaCl 1.5.0, which also gives the draft's answer for the draft's nonce.
TEST(Seal, GivesTheBytesThatAnotherProgramGives) {
  const Secret key = Secret::from_bytes(bytes_from_hex(
      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"));
  const Bytes associated = bytes_from_hex("50515253c0c1c2c3c4c5c6c7");
  const Bytes plain = bytes_of(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one "
      "tip for the future, sunscreen would be it.");

  EXPECT_EQ(to_hex(sealed(key, associated, plain)),
            "c1f629c0dea9b93411ec0909faae2a2f3b4d2f0fa85cf102dce5d2383719064db0"
            "58bb18dc1911d80a065695ee62a912e4db162876d0d089dfc1bb497aff926a1ec0"
            "dc61ceba0f40e2d8fbbcfe5c04da1012423a113d59bb6c4682db539b0a6cbb7676"
            "c468ee215d37809a03de76a824db89a7baad4eccb50d19081052ebd06599a5");
}

TEST(Seal, OpensToWhatWasSealed) {
  for_each_seed(200, [](auto& random) {
    const Secret key = Secret::from_bytes(random_bytes(random, kSecretBytes));
    const Bytes associated = random_bytes(random, random() % 100);
    const Bytes plain = random_bytes(random, random() % 5'000);

    EXPECT_EQ(opened(key, associated, sealed(key, associated, plain)), plain);
  });
}

TEST(Seal, WorksWithinOneBuffer) {
  for_each_seed(100, [](auto& random) {
    const Secret key = Secret::from_bytes(random_bytes(random, kSecretBytes));
    const Bytes associated = random_bytes(random, 40);
    const Bytes plain = random_bytes(random, random() % 5'000);
    Bytes buffer = plain;
    buffer.resize(plain.size() + kTagBytes);
    const auto front = std::span(buffer).first(plain.size());

    seal(key, associated, front, buffer);
    EXPECT_EQ(buffer, sealed(key, associated, plain));
    EXPECT_TRUE(open(key, associated, buffer, front));

    EXPECT_TRUE(std::ranges::equal(front, plain));
  });
}

TEST(Seal, NoticesEveryFlippedBit) {
  std::mt19937_64 random(1);
  const Secret key = Secret::from_bytes(random_bytes(random, kSecretBytes));
  const Bytes associated = random_bytes(random, 20);
  const Bytes plain = random_bytes(random, 100);
  const Bytes good = sealed(key, associated, plain);

  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes damaged = good;
    flip(damaged, bit);
    EXPECT_FALSE(opened(key, associated, damaged)) << "bit " << bit;
  }
  for (std::size_t bit = 0; bit < 8 * associated.size(); ++bit) {
    Bytes other = associated;
    flip(other, bit);
    EXPECT_FALSE(opened(key, other, good)) << "bit " << bit;
  }
  for (std::size_t bit = 0; bit < 8 * kSecretBytes; ++bit) {
    Bytes other(key.bytes().begin(), key.bytes().end());
    flip(other, bit);
    EXPECT_FALSE(opened(Secret::from_bytes(other), associated, good))
        << "bit " << bit;
  }
}

TEST(Seal, NoticesEveryTruncationAndAppendedByte) {
  const Secret key = Secret::random();
  const Bytes associated = bytes_of("row");
  const Bytes good = sealed(key, associated, bytes_of("some plain text"));

  for (std::size_t size = 0; size < good.size(); ++size) {
    const Bytes cut(good.begin(),
                    good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(opened(key, associated, cut)) << size << " bytes";
  }
  Bytes longer = good;
  longer.push_back(std::byte{});
  EXPECT_FALSE(opened(key, associated, longer));
}

TEST(Seal, GivesUnrelatedBytesUnderAnotherAssociatedData) {
  // Equal bytes at the same place would mean a repeated key stream.
  const Secret key = Secret::random();
  const Bytes plain(4'096);
  const Bytes one = sealed(key, bytes_of("row 1"), plain);
  const Bytes two = sealed(key, bytes_of("row 2"), plain);

  int equal_bytes = 0;
  for (std::size_t i = 0; i < one.size(); ++i) equal_bytes += one[i] == two[i];

  EXPECT_LT(equal_bytes, 80);  // 16 expected
}

TEST(Seal, AnEmptyTextIsATagAlone) {
  const Secret key = Secret::random();

  const Bytes tag = sealed(key, {}, {});

  EXPECT_EQ(tag.size(), kTagBytes);
  EXPECT_EQ(opened(key, {}, tag), Bytes{});
  EXPECT_FALSE(opened(key, bytes_of("other"), tag));
}

}  // namespace
}  // namespace cairn::crypto
