#include "repo/envelope.h"

#include <gtest/gtest.h>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

TEST(Prologue, ComesBackAsItWas) {
  const Prologue prologue{ObjectType::pack, 0x01020304};
  EXPECT_EQ(decode_prologue(encode(prologue), ObjectType::pack, "pack"),
            prologue);
}

TEST(Prologue, AnotherDraftIsUnsupportedAndNotDamaged) {
  for (const unsigned format : {0x80U, 0x81U, 0x01U, 0x00U}) {
    auto bytes = encode(Prologue{ObjectType::pack, 1});
    bytes[9] = static_cast<std::byte>(format);
    EXPECT_THROW((void)decode_prologue(bytes, ObjectType::pack, "pack"),
                 UnsupportedFormat);
  }
}

TEST(Prologue, AnotherMagicOrTypeOrReservedByteIsDamage) {
  for (const std::size_t at : {0U, 7U, 8U, 10U, 11U}) {
    auto bytes = encode(Prologue{ObjectType::pack, 1});
    bytes[at] ^= std::byte{1};
    EXPECT_THROW((void)decode_prologue(bytes, ObjectType::pack, "pack"),
                 CorruptionError);
  }
}

TEST(Prologue, FewerBytesThanItHasAreDamage) {
  const auto bytes = encode(Prologue{ObjectType::pack, 1});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW((void)decode_prologue(std::span(bytes).first(size),
                                       ObjectType::pack, "pack"),
                 CorruptionError);
  }
}

TEST(Envelope, TheBodyComesBackAsItWas) {
  for_each_seed(50, [](auto& random) {
    const Bytes body = random_bytes(random, random() % 300);
    const auto object = enclose(ObjectType::mark, body);
    const auto view = disclose(object, ObjectType::mark, "mark");
    EXPECT_EQ(Bytes(view.begin(), view.end()), body);
  });
}

TEST(Envelope, EveryFlippedBitIsNoticed) {
  const auto object = enclose(ObjectType::mark, Bytes(40, std::byte{7}));
  for (std::size_t bit = 0; bit < 8 * object.size(); ++bit) {
    auto flipped = object;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_THROW((void)disclose(flipped, ObjectType::mark, "mark"), Error);
  }
}

TEST(Envelope, AnotherLengthIsNoticed) {
  auto object = enclose(ObjectType::mark, Bytes(40, std::byte{7}));
  object.push_back({});
  EXPECT_THROW((void)disclose(object, ObjectType::mark, "mark"),
               CorruptionError);
  object.resize(20);
  EXPECT_THROW((void)disclose(object, ObjectType::mark, "mark"),
               CorruptionError);
}

}  // namespace
}  // namespace cairn::repo
