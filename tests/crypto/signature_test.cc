#include "crypto/signature.h"

#include <gtest/gtest.h>

#include <string_view>

#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

Bytes bytes_from_hex(std::string_view text) {
  Bytes bytes(text.size() / 2);
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

// RFC 8032, section 7.1, tests 1 to 3.
struct KnownAnswer {
  std::string_view seed;
  std::string_view verify_key;
  std::string_view message;
  std::string_view signature;
};
constexpr KnownAnswer kKnownAnswers[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb882159"
     "0a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43"
     "e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538"
     "d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

TEST(Signature, GivesTheAnswersOfRfc8032) {
  for (const KnownAnswer& known : kKnownAnswers) {
    const Secret seed = Secret::from_bytes(bytes_from_hex(known.seed));
    const Bytes message = bytes_from_hex(known.message);

    EXPECT_EQ(to_hex(verify_key_of(seed)), known.verify_key);
    EXPECT_EQ(to_hex(sign(seed, message)), known.signature);
  }
}

TEST(Signature, VerifiesWhatWasSigned) {
  for_each_seed(50, [](auto& random) {
    const Secret seed = Secret::from_bytes(random_bytes(random, kSecretBytes));
    const Bytes message = random_bytes(random, random() % 2'000);

    EXPECT_TRUE(verify(verify_key_of(seed), message, sign(seed, message)));
  });
}

TEST(Signature, NoticesEveryFlippedBit) {
  std::mt19937_64 random(1);
  const Secret seed = Secret::from_bytes(random_bytes(random, kSecretBytes));
  const VerifyKey key = verify_key_of(seed);
  const Bytes message = random_bytes(random, 50);
  const Signature signature = sign(seed, message);
  const auto with_flipped_bit = [](auto bytes, std::size_t bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    return bytes;
  };

  for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
    EXPECT_FALSE(verify(key, with_flipped_bit(message, bit), signature));
  }
  for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit) {
    EXPECT_FALSE(verify(key, message, with_flipped_bit(signature, bit)));
  }
  for (std::size_t bit = 0; bit < 8 * key.size(); ++bit) {
    EXPECT_FALSE(verify(with_flipped_bit(key, bit), message, signature));
  }
}

TEST(Signature, AVerifyKeyOfZerosVerifiesNothing) {
  // A point of low order: without a check it would verify a signature of zeros.
  EXPECT_FALSE(verify(VerifyKey{}, {}, Signature{}));
}

}  // namespace
}  // namespace cairn::crypto
