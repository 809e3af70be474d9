#include "crypto/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::crypto {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::random_bytes;

// HMAC fills a short key up with zeros, so that a Secret can stand for it.
Secret zero_padded(Bytes key) {
  key.resize(kSecretBytes);
  return Secret::from_bytes(key);
}

std::string hmac_hex(const Bytes& key, const Bytes& bytes) {
  return to_hex(Hmac(zero_padded(key)).of({}, bytes));
}

TEST(Digest, Sha256GivesTheAnswersOfFips180) {
  EXPECT_EQ(to_hex(sha256({})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(bytes_of(
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(to_hex(sha256(Bytes(1'000'000, std::byte{'a'}))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, HmacGivesTheAnswersOfRfc4231) {
  EXPECT_EQ(hmac_hex(Bytes(20, std::byte{0x0b}), bytes_of("Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(
      hmac_hex(bytes_of("Jefe"), bytes_of("what do ya want for nothing?")),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hmac_hex(Bytes(20, std::byte{0xaa}), Bytes(50, std::byte{0xdd})),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");

  Bytes counting_key(25);
  for (std::size_t i = 0; i < counting_key.size(); ++i) {
    counting_key[i] = static_cast<std::byte>(i + 1);
  }
  EXPECT_EQ(hmac_hex(counting_key, Bytes(50, std::byte{0xcd})),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
}

TEST(Digest, PiecesHashLikeTheWhole) {
  for_each_seed(100, [](auto& random) {
    const Bytes input = random_bytes(random, random() % 5'000);

    Sha256 pieces;
    for (std::size_t done = 0; done < input.size();) {
      const std::size_t size =
          std::min<std::size_t>(random() % 300, input.size() - done);
      pieces.add(std::span(input).subspan(done, size));
      done += size;
    }

    EXPECT_EQ(std::move(pieces).finish(), sha256(input));
  });
}

TEST(Digest, HmacReadsPrefixAndBytesAsOneText) {
  for_each_seed(100, [](auto& random) {
    const Hmac hmac(Secret::from_bytes(random_bytes(random, kSecretBytes)));
    const Bytes input = random_bytes(random, random() % 500);
    const auto all = std::span(input);
    const std::size_t split = random() % (input.size() + 1);

    EXPECT_EQ(hmac.of(all.first(split), all.subspan(split)), hmac.of({}, all));
  });
}

TEST(Digest, HmacsOfManyAreThoseOfEach) {
  for_each_seed(200, [](auto& random) {
    const Hmac hmac(Secret::from_bytes(random_bytes(random, kSecretBytes)));
    const Bytes prefix = random_bytes(random, random() % 64);
    const Bytes input = random_bytes(random, 20'000);
    std::vector<std::span<const std::byte>> messages(random() % 50);
    for (auto& message : messages) {
      // Many about as long as a block or two, where the padding changes shape.
      const std::size_t size = random() % (random() % 2 == 0 ? 200 : 20'000);
      const std::size_t from = random() % (input.size() - size);
      message = std::span(input).subspan(from, size);
    }

    std::size_t count = 0;
    hmac.of_each(prefix, messages, [&](std::size_t i, const Digest& digest) {
      EXPECT_EQ(digest, hmac.of(prefix, messages.at(i))) << i;
      ++count;
    });
    EXPECT_EQ(count, messages.size());
  });
}

TEST(Digest, HmacsOfManyPadEveryLengthRight) {
  const Hmac hmac(zero_padded(bytes_of("Jefe")));
  const Bytes input(400, std::byte{0xdd});
  for (std::size_t prefix = 0; prefix < 64; prefix += 21) {
    std::vector<std::span<const std::byte>> messages;
    for (std::size_t size = 0; size <= input.size(); ++size) {
      messages.push_back(std::span(input).first(size));
    }
    const auto head = std::span(input).first(prefix);

    std::size_t count = 0;
    hmac.of_each(head, messages, [&](std::size_t size, const Digest& digest) {
      EXPECT_EQ(digest, hmac.of(head, messages.at(size))) << size;
      ++count;
    });
    EXPECT_EQ(count, messages.size());
  }
}

TEST(Digest, OneHmacServesManyThreads) {
  std::mt19937_64 random(1);
  const Hmac hmac(Secret::from_bytes(random_bytes(random, kSecretBytes)));
  const Bytes input = random_bytes(random, 10'000);
  const Digest expected = hmac.of({}, input);
  std::vector<int> right_answers(4, 0);

  {
    std::vector<std::jthread> threads;
    for (int& count : right_answers) {
      threads.emplace_back([&hmac, &input, &expected, &count] {
        for (int i = 0; i < 200; ++i) count += hmac.of({}, input) == expected;
      });
    }
  }

  EXPECT_EQ(right_answers, std::vector<int>(4, 200));
}

TEST(Digest, AMovedHmacGoesOnUnderItsKey) {
  Hmac first(zero_padded(bytes_of("Jefe")));
  const Digest expected = first.of({}, bytes_of("text"));

  const Hmac second = std::move(first);

  EXPECT_EQ(second.of({}, bytes_of("text")), expected);
}

TEST(Digest, EqualityNoticesEveryFlippedBitAndLength) {
  const Bytes a = bytes_of("same");
  EXPECT_TRUE(equal_in_constant_time(a, bytes_of("same")));
  EXPECT_TRUE(equal_in_constant_time({}, {}));
  EXPECT_FALSE(equal_in_constant_time(a, bytes_of("sam")));
  for (std::size_t bit = 0; bit < 8 * a.size(); ++bit) {
    Bytes b = a;
    b[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(equal_in_constant_time(a, b));
  }
}

TEST(Hex, ReadsBackWhatItWrote) {
  for_each_seed(100, [](auto& random) {
    const Bytes input = random_bytes(random, random() % 70);
    Bytes back(input.size());

    EXPECT_TRUE(from_hex(to_hex(input), back));

    EXPECT_EQ(back, input);
  });
}

TEST(Hex, WritesLowerCaseWithLeadingZeros) {
  EXPECT_EQ(to_hex(Bytes{std::byte{0x0a}, std::byte{0xf0}}), "0af0");
}

TEST(Hex, RefusesAllButExactlyTheDigits) {
  Bytes two(2);
  for (const auto* text : {"", "0", "00f", "00ff0", "00ff00", "00FF", "0 ff",
                           "0xff", "00fg", "00f/", "00f:", "00f`", "00f@"}) {
    EXPECT_FALSE(from_hex(text, two)) << text;
  }
  EXPECT_TRUE(from_hex("00ff", two));
}

}  // namespace
}  // namespace cairn::crypto
