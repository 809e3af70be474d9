#include "crypto/recognition_mac.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <algorithm>

#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::random_bytes;

// As another library computes it.
TEST(Recogniser, GivesTheTagOfChaCha20Poly1305WithoutPlaintext) {
  testing_support::for_each_seed(50, [](auto& random) {
    const Bytes key = random_bytes(random, kSecretBytes);
    const Bytes name = random_bytes(random, 32);
    const Bytes bytes = random_bytes(random, random() % 1000);
    const auto raw = [](std::span<const std::byte> from) {
      return reinterpret_cast<const unsigned char*>(from.data());
    };
    constexpr std::size_t kNonceBytes =
        crypto_aead_chacha20poly1305_ietf_NPUBBYTES;
    Bytes associated = bytes;
    associated.insert(associated.end(), name.begin() + kNonceBytes, name.end());

    std::array<unsigned char, kRecognitionMacBytes> expected{};
    ASSERT_EQ(crypto_aead_chacha20poly1305_ietf_encrypt(
                  expected.data(), nullptr, nullptr, 0, raw(associated),
                  associated.size(), nullptr, raw(name), raw(key)),
              0);

    const auto mac = Recogniser(Secret::from_bytes(key)).mac_of(name, bytes);
    EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(expected)), mac));
  });
}

TEST(Recogniser, AnyChangedBitOfBytesNameOrKeyChangesTheMac) {
  testing_support::for_each_seed(50, [](auto& random) {
    const Bytes key_bytes = random_bytes(random, kSecretBytes);
    Recogniser recogniser(Secret::from_bytes(key_bytes));
    const Bytes name = random_bytes(random, kDigestBytes);
    Bytes bytes = random_bytes(random, 1 + random() % 100'000);
    const RecognitionMac mac = recogniser.mac_of(name, bytes);
    ASSERT_EQ(recogniser.mac_of(name, bytes), mac);

    bytes[random() % bytes.size()] ^= std::byte{1} << (random() % 8);
    EXPECT_NE(recogniser.mac_of(name, bytes), mac);
    Bytes other_name = name;
    other_name[random() % other_name.size()] ^= std::byte{1};
    EXPECT_NE(recogniser.mac_of(other_name, bytes),
              recogniser.mac_of(name, bytes));
    Bytes other_key = key_bytes;
    other_key[random() % other_key.size()] ^= std::byte{4};
    EXPECT_NE(Recogniser(Secret::from_bytes(other_key)).mac_of(name, bytes),
              recogniser.mac_of(name, bytes));
    EXPECT_NE(recogniser.mac_of(name, std::span(bytes).first(bytes.size() - 1)),
              recogniser.mac_of(name, bytes));
  });
}

}  // namespace
}  // namespace cairn::crypto
