#include "crypto/recognition_mac.h"

#include <gtest/gtest.h>

#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::random_bytes;

template <std::size_t kSize>
std::array<std::byte, kSize> hex(std::string_view text) {
  std::array<std::byte, kSize> bytes;
  EXPECT_TRUE(from_hex(text, bytes));
  return bytes;
}

// The first of NIST's vectors (CAVP, gcmEncryptExtIV256) without plaintext and
// with 128 bits of associated data.
TEST(Recogniser, GivesTheMacOfThePublishedVector) {
  const auto key =
      Secret::from_bytes(hex<32>("78dc4e0aaf52d935c3c01eea57428f00"
                                 "ca1fd475f5da86a49c8dd73d68c8e223"));
  Recogniser recogniser(key);

  EXPECT_EQ(recogniser.mac_of(hex<12>("d79cf22d504cc793c3fb6c8a"),
                              hex<16>("b96baa8c1c75a671bfb2d08d06be5f36")),
            hex<16>("3e5d486aa2e30b22e040b85723a06e76"));
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
