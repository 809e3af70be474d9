#include "crypto/wrap.h"

#include <gtest/gtest.h>

#include <stdexcept>
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

Secret secret_from_hex(std::string_view text) {
  return Secret::from_bytes(bytes_from_hex(text));
}

TEST(Wrap, PublicKeysAreThoseOfRfc7748) {
  EXPECT_EQ(to_hex(public_key_of(
                secret_from_hex("77076d0a7318a57d3c16c17251b26645"
                                "df4c2f87ebc0992ab177fba51db92c2a"))),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
}

// Made with PyNaCl 1.5.0's crypto_box_seal: fresh randomness in every wrap
// means that only opening can be compared.
TEST(Wrap, OpensWhatAnotherProgramWrapped) {
  Wrapped wrapped;
  ASSERT_TRUE(from_hex(
      "60928eef29d65fef6431d98975946e1040e6a6d40913dd94f53a6cfafd258f1987563e39"
      "8cff0bdf609382f90c13cac55c81b2806e9816dc1a3861d7c0f839d8a2aea4b26c55dab0"
      "cbd11efff20eef5e",
      wrapped));

  const auto secret = unwrap(
      wrapped,
      secret_from_hex(
          "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"));

  ASSERT_TRUE(secret);
  EXPECT_EQ(to_hex(secret->bytes()),
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
}

TEST(Wrap, UnwrapsToTheSameSecretForItsReaderAlone) {
  for_each_seed(20, [](auto& random) {
    const Secret secret =
        Secret::from_bytes(random_bytes(random, kSecretBytes));
    const Secret reader =
        Secret::from_bytes(random_bytes(random, kSecretBytes));
    const Secret other = Secret::from_bytes(random_bytes(random, kSecretBytes));

    const Wrapped wrapped = wrap(secret, public_key_of(reader));
    const auto unwrapped = unwrap(wrapped, reader);

    ASSERT_TRUE(unwrapped);
    EXPECT_EQ(to_hex(unwrapped->bytes()), to_hex(secret.bytes()));
    EXPECT_FALSE(unwrap(wrapped, other));
  });
}

TEST(Wrap, TwoWrapsOfOneSecretDiffer) {
  const Secret secret = Secret::random();
  const PublicKey reader = public_key_of(Secret::random());

  EXPECT_NE(wrap(secret, reader), wrap(secret, reader));
}

TEST(Wrap, NoticesEveryFlippedBit) {
  const Secret reader = Secret::random();
  const Wrapped good = wrap(Secret::random(), public_key_of(reader));

  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Wrapped damaged = good;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(unwrap(damaged, reader)) << "bit " << bit;
  }
}

TEST(Wrap, RefusesAPublicKeyThatSharesNothing) {
  // Zero times anything is zero: everybody could unwrap that.
  EXPECT_THROW(static_cast<void>(wrap(Secret::random(), PublicKey{})),
               std::invalid_argument);
}

}  // namespace
}  // namespace cairn::crypto
