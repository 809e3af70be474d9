#include "repo/cbor.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;

// Numbers of every width, not only large ones.
std::uint64_t random_number(std::mt19937_64& random) {
  const auto shift = random() % 64;
  return random() >> shift;
}

void write_random(std::mt19937_64& random, CborWriter& out, int around) {
  const auto choice = random() % (around < 5 ? 8 : 6);
  switch (choice) {
    case 0:
      out.uint(random_number(random));
      return;
    case 1:
      out.sint(-1 - static_cast<std::int64_t>(random_number(random) >> 1));
      return;
    case 2:
      out.bytes(random_bytes(random, random() % 300));
      return;
    case 3:
      out.text(std::string(random() % 300, 'x') + "\xe2\x82\xac");
      return;
    case 4:
      out.boolean(random() % 2 == 0);
      return;
    case 5:
      out.null();
      return;
    case 6: {
      const auto items = random() % 4;
      out.array(items);
      for (std::uint64_t i = 0; i < items; ++i) {
        write_random(random, out, around + 1);
      }
      return;
    }
    default: {
      const auto pairs = random() % 4;
      out.map(pairs);
      for (std::uint64_t i = 0; i < pairs; ++i) {
        write_random(random, out.key(i * 100), around + 1);
      }
    }
  }
}

TEST(Cbor, SkipsExactlyTheValueThatWasWritten) {
  for_each_seed(300, [](auto& random) {
    CborWriter out;
    write_random(random, out, 0);
    CborReader in(out.view(), "value");
    EXPECT_EQ(in.skip().size(), out.size());
    EXPECT_NO_THROW(in.end());
  });
}

TEST(Cbor, NumbersComeBackAsTheyWere) {
  for_each_seed(300, [](auto& random) {
    const std::uint64_t number = random_number(random);
    const auto negative = -1 - static_cast<std::int64_t>(number >> 1);
    CborWriter out;
    out.uint(number).sint(negative);
    CborReader in(out.view(), "value");
    EXPECT_EQ(in.uint(), number);
    EXPECT_EQ(in.sint(), negative);
  });
}

TEST(Cbor, TheLeastAndTheGreatestSignedNumberComeBack) {
  using Limits = std::numeric_limits<std::int64_t>;
  CborWriter out;
  out.sint(Limits::min()).sint(Limits::max());
  CborReader in(out.view(), "value");
  EXPECT_EQ(in.sint(), Limits::min());
  EXPECT_EQ(in.sint(), Limits::max());
}

TEST(Cbor, RefusesEveryTruncation) {
  for_each_seed(100, [](auto& random) {
    CborWriter out;
    write_random(random, out, 0);
    for (std::size_t size = 0; size < out.size(); ++size) {
      CborReader in(std::span(out.view()).first(size), "value");
      EXPECT_THROW((void)in.skip(), CorruptionError);
    }
  });
}

TEST(Cbor, AClaimedCountCannotExceedTheBytesThatAreLeft) {
  CborWriter out;
  out.array(1000);
  CborReader in(out.view(), "value");
  EXPECT_THROW((void)in.array(10'000), CorruptionError);
}

TEST(Cbor, AByteStringAboveItsLimitIsRefused) {
  CborWriter out;
  out.bytes(Bytes(5));
  CborReader in(out.view(), "value");
  EXPECT_THROW((void)in.bytes(4), CorruptionError);
}

TEST(Cbor, AFixedByteStringHasExactlyItsLength) {
  for (const std::size_t size : {3U, 5U}) {
    CborWriter out;
    out.bytes(Bytes(size));
    CborReader in(out.view(), "value");
    EXPECT_THROW((void)in.fixed<4>(), CorruptionError);
  }
}

TEST(Cbor, RefusesUtf8ThatStopsInTheMiddle) {
  EXPECT_TRUE(is_utf8("a\xe2\x82\xac"));
  EXPECT_FALSE(is_utf8("a\xe2\x82"));
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(is_utf8("\x80"));
  EXPECT_TRUE(is_utf8(""));
}

TEST(Cbor, AnUnknownKeyFrom128UpwardsIsPassedOver) {
  CborWriter out;
  out.map(1).key(128).array(1).uint(5);
  CborReader in(out.view(), "value");
  auto map = in.map();
  const auto key = map.next();
  ASSERT_TRUE(key);
  in.unknown_key(*key);
  EXPECT_FALSE(map.next());
  EXPECT_NO_THROW(in.end());
}

TEST(Cbor, AnUnknownKeyBelow128IsUnsupported) {
  CborWriter out;
  out.map(1).key(127).uint(5);
  CborReader in(out.view(), "value");
  auto map = in.map();
  const auto key = map.next();
  EXPECT_THROW(in.unknown_key(*key), UnsupportedFormat);
}

// A map with one ignorable field that is `levels` arrays around a number.
Bytes with_nested_field(int levels) {
  CborWriter out;
  out.map(1).key(200);
  for (int i = 0; i < levels; ++i) out.array(1);
  out.uint(0);
  return std::move(out).take();
}

TEST(Cbor, NestingOfAFieldThatIsPassedOverCountsFromTheOutermost) {
  const auto pass_over = [](const Bytes& bytes) {
    CborReader in(bytes, "value");
    auto map = in.map();
    in.unknown_key(map.next().value());
  };
  EXPECT_NO_THROW(pass_over(with_nested_field(15)));
  EXPECT_THROW(pass_over(with_nested_field(16)), CorruptionError);
}

TEST(Cbor, RandomBytesAreRefusedOrAreTheOneSpelling) {
  for_each_seed(2000, [](auto& random) {
    const Bytes bytes = random_bytes(random, 1 + random() % 12);
    CborReader in(bytes, "value");
    try {
      const auto value = in.sint();
      CborWriter out;
      out.sint(value);
      EXPECT_EQ(out.size(), bytes.size() - in.left());
      EXPECT_TRUE(
          std::equal(out.view().begin(), out.view().end(), bytes.begin()));
    } catch (const CorruptionError&) {
    }
  });
}

}  // namespace
}  // namespace cairn::repo
