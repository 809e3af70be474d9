#include "repo/config.h"

#include <gtest/gtest.h>

#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/memory_storage.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::MemoryStorage;
using testing_support::random_id;

Config random_config(std::mt19937_64& random) {
  Config config;
  config.repository = random_id<RepositoryId>(random);
  config.family = random_id<FamilyId>(random);
  config.root_key = random_id<BlobId>(random).bytes;
  config.created = {static_cast<std::int64_t>(random()),
                    static_cast<std::uint32_t>(random() % 1'000'000'000)};
  config.cdc_min = static_cast<std::uint32_t>(64 + random() % 65'000);
  return config;
}

TEST(Config, ComesBackAsItWas) {
  for_each_seed(50, [](auto& random) {
    const Config config = random_config(random);
    EXPECT_EQ(decode_config(encode(config), "config"), config);
  });
}

TEST(Config, SizesThatNobodyCanCutByAreDamage) {
  const CutSizes whole = cut_sizes_of(Config{});
  for (const CutSizes& sizes : {
           CutSizes{0, 0, 0, whole[3]},
           CutSizes{63, whole[1], whole[2], whole[3]},
           CutSizes{whole[1], whole[1], whole[2], whole[3]},
           CutSizes{whole[0], whole[1] + 2, whole[2], whole[3]},
           CutSizes{whole[0], whole[1], whole[1], whole[3]},
           CutSizes{whole[0], whole[1], whole[2], 0},
           CutSizes{whole[0], whole[1], whole[2], 8191},
           CutSizes{whole[0], whole[1], whole[2], 2U << 20},
       }) {
    Config config;
    set_cut_sizes(config, sizes);
    EXPECT_THROW((void)decode_config(encode(config), "config"),
                 CorruptionError);
  }
}

TEST(Config, AnotherSuiteIsUnsupported) {
  Bytes object = encode(Config{});
  // map(7), 1: bstr 16, 2: bstr 16, 3: the suite.
  const std::size_t at = kPrologueBytes + 1 + 18 + 18 + 1;
  ASSERT_EQ(object[at], std::byte{1});
  object[at] = std::byte{2};
  const auto body = std::span<const std::byte>(object).subspan(
      kPrologueBytes, object.size() - kPrologueBytes - 32);
  EXPECT_THROW((void)decode_config(enclose(ObjectType::config, body), "config"),
               UnsupportedFormat);
}

TEST(Config, TheSecondCopyServesWhenTheFirstIsDamagedOrGone) {
  std::mt19937_64 random(1);
  const Config config = random_config(random);
  const auto object = encode(config);
  MemoryStorage storage;
  (void)storage.create(kConfigName, object);
  (void)storage.create(kSecondConfigName, object);

  storage.flip_bit(kConfigName, 50, 1);
  const Config from_damaged = read_config(storage);
  storage.remove(kConfigName);
  const Config from_second = read_config(storage);

  EXPECT_EQ(from_damaged, config);
  EXPECT_EQ(from_second, config);
}

TEST(Config, LossOfBothIsDamageBesideDataAndNoRepositoryElsewhere) {
  for (const auto& [name, is_damage] :
       {std::pair("packs/" + std::string(64, 'a'), true),
        std::pair("snapshots/" + std::string(32, '0'), true),
        std::pair("keys/" + std::string(32, '0'), false),
        std::pair(std::string("packs/of-somebody-else"), false)}) {
    MemoryStorage storage;
    (void)storage.create(name, encode(Config{}));
    if (is_damage) {
      EXPECT_THROW((void)read_config(storage), CorruptionError) << name;
    } else {
      EXPECT_THROW((void)read_config(storage), NoRepository) << name;
    }
  }
}

TEST(Config, DamageOfBothIsDamageAndNotAMissingRepository) {
  const auto object = encode(Config{});
  MemoryStorage storage;
  EXPECT_THROW((void)read_config(storage), NoRepository);
  (void)storage.create(kConfigName, object);
  (void)storage.create(kSecondConfigName, object);
  storage.flip_bit(kConfigName, 50, 1);
  storage.flip_bit(kSecondConfigName, 60, 1);
  EXPECT_THROW((void)read_config(storage), CorruptionError);
}

}  // namespace
}  // namespace cairn::repo
