#include "ingest/rdb_scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "ingest/byte_stream.h"
#include "ingest/crc64.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/rdb.h"

namespace cairn::ingest {
namespace {

using testing::HasSubstr;
using testing_support::chars;
using testing_support::little_endian;
using testing_support::rdb_string;
using testing_support::real_rdb;
using testing_support::whole_rdb;

constexpr std::int64_t kNow = 1'800'000'000'000;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

RdbContent walk(std::string_view rdb, std::size_t piece = 1U << 20U) {
  RdbScanner scanner({kNow / 1000, 0});
  for (auto rest = rdb; !rest.empty();) {
    const auto size = std::min(piece, rest.size());
    scanner.add(bytes_of(rest.substr(0, size)));
    rest.remove_prefix(size);
  }
  scanner.finish();
  return scanner.content();
}

std::string refusal(std::string_view rdb) {
  try {
    (void)walk(rdb);
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return "none";
}

std::uint64_t count(const RdbContent& content, std::uint64_t database,
                    RdbKind kind) {
  return content.databases.at(database).kinds.at(
      static_cast<std::size_t>(kind));
}

TEST(Crc64, IsThatOfJones) {
  Crc64 crc;
  crc.add(bytes_of("1234"));
  crc.add(bytes_of("56789"));

  EXPECT_EQ(crc.value(), 0xe9c6d914c4b8d9caU);
}

TEST(RdbScanner, CountsEveryTypeThatAServerWrites) {
  const auto content = walk(real_rdb("redis-7.0"));

  EXPECT_EQ(content.not_walked, std::nullopt);
  EXPECT_TRUE(content.has_checksum);
  EXPECT_EQ(content.magic, "REDIS0010");
  EXPECT_EQ(content.fields.at("redis-ver"), "7.0.15");
  EXPECT_EQ(content.functions, 1U);
  ASSERT_EQ(content.databases.size(), 3U);
  EXPECT_EQ(content.databases.at(0).keys, 20U);
  EXPECT_EQ(content.databases.at(0).expiring, 2U);
  EXPECT_EQ(content.databases.at(1).keys, 1U);
  EXPECT_EQ(content.databases.at(15).keys, 100U);
  EXPECT_EQ(content.databases.at(15).expiring, 100U);
  EXPECT_EQ(count(content, 0, RdbKind::string), 9U);
  EXPECT_EQ(count(content, 0, RdbKind::list), 2U);
  EXPECT_EQ(count(content, 0, RdbKind::set), 2U);
  EXPECT_EQ(count(content, 0, RdbKind::sorted_set), 3U);
  EXPECT_EQ(count(content, 0, RdbKind::hash), 2U);
  EXPECT_EQ(count(content, 0, RdbKind::stream), 2U);
}

TEST(RdbScanner, ReadsWhatAServerNotesOfTheUseOfKeys) {
  for (const auto* const name : {"redis-7.0-lfu", "redis-7.0-lru-loose"}) {
    const auto content = walk(real_rdb(name));

    EXPECT_EQ(content.not_walked, std::nullopt) << name;
    EXPECT_EQ(content.databases.at(0).keys, 16U) << name;
  }
}

TEST(RdbScanner, FindsNothingInAnEmptyServer) {
  const auto content = walk(real_rdb("redis-7.0-empty"));

  EXPECT_EQ(content.not_walked, std::nullopt);
  EXPECT_TRUE(content.databases.empty());
}

TEST(RdbScanner, DoesNotCareHowTheBytesCome) {
  testing_support::for_each_seed(20, [](auto& random) {
    const std::string rdb = real_rdb("redis-7.0-lru-loose");
    const auto once = walk(rdb);

    const auto pieces = walk(rdb, 1 + random() % 200);

    EXPECT_EQ(pieces.not_walked, std::nullopt);
    EXPECT_EQ(pieces.databases, once.databases);
    EXPECT_EQ(pieces.fields, once.fields);
  });
}

TEST(RdbScanner, NoticesEveryBitThatWasFlipped) {
  const std::string rdb = real_rdb("redis-7.0-lfu");
  testing_support::for_each_seed(300, [&](auto& random) {
    std::string flipped = rdb;
    // The magic's version may become one that is not known.
    const auto at = 9 + random() % (rdb.size() - 9);
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));

    EXPECT_NE(refusal(flipped), "none") << at;
  });
}

TEST(RdbScanner, NoticesThatItIsCut) {
  const std::string rdb = real_rdb("redis-7.0-lfu");
  for (std::size_t size = 0; size < rdb.size(); size += 7) {
    EXPECT_THAT(refusal(std::string_view(rdb).substr(0, size)),
                HasSubstr("not as the server wrote it"))
        << size;
  }
  EXPECT_THAT(refusal(rdb + "x"), HasSubstr("not as the server wrote it"));
}

TEST(RdbScanner, KnowsWhichKeysHaveExpired) {
  const auto content = walk(whole_rdb(
      "REDIS0009",
      chars(0xfe, 3) +                                            //
          chars(0xfc) + little_endian(kNow - 1) + chars(0) +      //
          rdb_string("gone") + rdb_string("v") +                  //
          chars(0xfc) + little_endian(kNow + 1) + chars(0) +      //
          rdb_string("stays") + rdb_string("v") +                 //
          chars(0xfd, 1, 0, 0, 0, 0) + rdb_string("long gone") +  //
          rdb_string("v") + chars(0) + rdb_string("plain") + rdb_string("v")));

  EXPECT_EQ(content.not_walked, std::nullopt);
  EXPECT_EQ(content.databases.at(3).keys, 4U);
  EXPECT_EQ(content.databases.at(3).expiring, 3U);
  EXPECT_EQ(content.databases.at(3).expired, 2U);
}

TEST(RdbScanner, WalksTypesOfOldServersAndNewOnes) {
  const std::string inside =
      chars(0xfe, 0) +
      // As 2.x and 3.x wrote them: a list, a set, scores as text, a ziplist.
      chars(1) + rdb_string("list") + chars(2) + rdb_string("a") +
      rdb_string("b") +                                            //
      chars(2) + rdb_string("set") + chars(1) + rdb_string("a") +  //
      chars(3) + rdb_string("zset") + chars(3) + rdb_string("a") + chars(3) +
      "1.5" + rdb_string("b") + chars(254) + rdb_string("c") + chars(253) +  //
      chars(13) + rdb_string("ziplist") + rdb_string("packed") +             //
      chars(14) + rdb_string("quick") + chars(1) + rdb_string("packed") +
      // Slots of a cluster; a hash whose fields have times (7.4).
      chars(0xf4, 5, 1, 0) +  //
      chars(24) + rdb_string("timed") + little_endian(kNow) + chars(1, 9) +
      rdb_string("field") + rdb_string("value") +  //
      chars(25) + rdb_string("timed and packed") + little_endian(kNow) +
      rdb_string("packed");

  const auto content = walk(whole_rdb("REDIS0012", inside));

  EXPECT_EQ(content.not_walked, std::nullopt);
  EXPECT_EQ(content.databases.at(0).keys, 7U);
}

TEST(RdbScanner, PassesOverWhatModulesWroteAndNamesThem) {
  // "ReJSON-RL" in six bits each, and version 3.
  std::uint64_t id = 0;
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  for (const char c : std::string_view("ReJSON-RL")) {
    id = id << 6U | kLetters.find(c);
  }
  id = id << 10U | 3U;
  std::string number = chars(0x81);
  for (int i = 7; i >= 0; --i) number += chars((id >> (8 * i)) & 0xffU);
  const std::string value = number + chars(1, 5) + chars(2, 0x40, 200) +
                            chars(3) + "flt4" + chars(4) + "double_8" +
                            chars(5) + rdb_string("text") + chars(0);

  const auto content = walk(
      whole_rdb("REDIS0011", chars(0xf7) + number + chars(2, 1, 5) +
                                 rdb_string("aux") + chars(0) +  //
                                 chars(0xfe, 0, 7) + rdb_string("doc") + value +
                                 chars(0) + rdb_string("k") + rdb_string("v")));

  EXPECT_EQ(content.not_walked, std::nullopt);
  EXPECT_EQ(content.databases.at(0).keys, 2U);
  EXPECT_EQ(count(content, 0, RdbKind::module), 1U);
  EXPECT_THAT(content.modules, testing::ElementsAre("ReJSON-RL"));
}

TEST(RdbScanner, SaysThatItDoesNotKnowAVersionOrAType) {
  EXPECT_THAT(walk(whole_rdb("REDIS0099", "anything")).not_walked.value(),
              HasSubstr("REDIS0099"));
  EXPECT_THAT(walk(whole_rdb("VALKEY080", "anything")).not_walked.value(),
              HasSubstr("VALKEY080"));
  const auto content = walk(whole_rdb(
      "REDIS0010", chars(0xfe, 0, 0) + rdb_string("k") + rdb_string("v") +
                       chars(99) + "whatever follows"));
  EXPECT_THAT(content.not_walked.value(), HasSubstr("type 99"));
  EXPECT_TRUE(content.has_checksum);
  // Its own version is not that of such hashes.
  EXPECT_TRUE(walk(whole_rdb("REDIS0010", chars(24) + "...")).not_walked);
}

TEST(RdbScanner, TakesADumpWithoutChecksumOnlyIfItIsWellFormed) {
  const std::string key = chars(0xfe, 0, 0) + rdb_string("k");
  const std::string none(8, '\0');
  const auto content =
      walk("REDIS0010" + key + rdb_string("v") + chars(0xff) + none);
  EXPECT_FALSE(content.has_checksum);
  EXPECT_EQ(content.not_walked, std::nullopt);

  // A length that is none; a value that ends behind the end.
  EXPECT_NE(refusal("REDIS0010" + key + chars(0x82, 0xff) + none), "none");
  EXPECT_NE(refusal("REDIS0010" + key + chars(60, 0xff) + none), "none");
}

TEST(RdbScanner, RefusesWhatIsNoDumpAtAll) {
  EXPECT_THAT(refusal("-ERR not a dump at all"), HasSubstr("does not begin"));
  EXPECT_THAT(refusal("REDISabcd and more than that"),
              HasSubstr("does not begin"));
}

}  // namespace
}  // namespace cairn::ingest
