#include "repo/index_object.h"

#include <gtest/gtest.h>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::random_id;
using testing_support::SampleRepository;

IndexObject random_object(std::mt19937_64& random) {
  IndexObject object;
  object.session = random_id<SessionId>(random);
  for (auto n = random() % 5; n > 0; --n) {
    IndexedPack pack;
    pack.id = random_id<PackId>(random);
    pack.size = 20'000 + random() % (1U << 29);
    pack.directory.keys.push_back({KeyClass::content, 1, {}});
    for (auto k = random() % 5; k > 0; --k) {
      BlobRow row;
      row.id = random_id<BlobId>(random);
      row.plain_size = 100;
      row.stored_size = 116;
      pack.directory.rows.push_back(row);
    }
    object.packs.push_back(pack);
  }
  if (random() % 3 == 0) object.assurance = Assurance::for_everyone();
  if (random() % 3 == 0) {
    crypto::VerifyKey key;
    for (auto& byte : key) byte = static_cast<std::byte>(random());
    object.assurance = Assurance::for_key(key);
  }
  return object;
}

TEST(IndexObject, ComesBackAsItWas) {
  for_each_seed(30, [](auto& random) {
    SampleRepository sample;
    const auto object = random_object(random);
    const auto id =
        publish_index(sample.storage, sample.keyring, sample.signer, object);
    const auto read = read_index(sample.storage, sample.keyring, id);
    EXPECT_EQ(read.session, object.session);
    EXPECT_EQ(read.packs, object.packs);
    EXPECT_EQ(read.assurance, object.assurance);
    EXPECT_EQ(list_indexes(sample.storage), std::vector<IndexId>{id});
  });
}

TEST(IndexObject, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(2000, [](auto& random) {
    Bytes body = encode(random_object(random));
    body[random() % body.size()] = static_cast<std::byte>(random());
    try {
      const auto object = decode_index(body, "index");
      EXPECT_EQ(encode(object), body);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(IndexObject, RowsThatReachPastTheirPacksBlobsAreDamage) {
  IndexedPack pack;
  pack.directory.keys.push_back({KeyClass::content, 1, {}});
  BlobRow row;
  row.plain_size = 100;
  row.stored_size = 116;
  pack.directory.rows = {row, row};
  const std::uint64_t least =
      kPackHeadBytes + 2 * 116 + kDirectoryStep + kTrailerBytes;

  pack.size = least;
  EXPECT_NO_THROW(
      (void)decode_index(encode(IndexObject{{}, {pack}}), "an index"));
  --pack.size;
  EXPECT_THROW((void)decode_index(encode(IndexObject{{}, {pack}}), "an index"),
               CorruptionError);
}

TEST(IndexObject, EveryFlippedBitIsNoticed) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const auto id = publish_index(sample.storage, sample.keyring, sample.signer,
                                random_object(random));
  const auto size = sample.storage.size(index_name(id)).value();
  for (std::uint64_t at = 0; at < size; ++at) {
    auto damaged = sample.storage;
    damaged.flip_bit(index_name(id), at, at % 8);
    EXPECT_THROW((void)read_index(damaged, sample.keyring, id),
                 CorruptionError);
  }
}

// Whoever changes the bytes changes the name with them: the seal is left.
TEST(IndexObject, EveryFlippedBitIsNoticedUnderANewNameToo) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const auto id = publish_index(sample.storage, sample.keyring, sample.signer,
                                random_object(random));
  const auto object = get_whole(sample.storage, index_name(id), 1U << 20);
  for (std::size_t at = 0; at < object.size(); ++at) {
    auto changed = object;
    changed[at] ^= std::byte{1};
    const IndexId name{crypto::sha256(changed)};
    auto forged = sample.storage;
    (void)forged.create(index_name(name), changed);
    EXPECT_THROW((void)read_index(forged, sample.keyring, name), Error);
  }
}

TEST(IndexObject, AWriteKeyVouchesForItselfAlone) {
  const auto said_by = [](Role role, const auto& say) {
    SampleRepository sample;
    const Keyring keyring = sample.keyring.for_role(role);
    const Signer signer(crypto::Secret::random(), keyring);
    const Assurance said = say(keyring);
    const auto id =
        publish_index(sample.storage, keyring, signer, {{}, {}, said});
    return read_index(sample.storage, sample.keyring, id).assurance == said;
  };
  const auto everyone = [](const Keyring&) {
    return Assurance::for_everyone();
  };
  const auto another = [](const Keyring&) {
    return Assurance::for_key(Keyring::create().role_key());
  };
  const auto itself = [](const Keyring& keyring) {
    return Assurance::for_key(keyring.role_key());
  };

  EXPECT_FALSE(said_by(Role::write, everyone));
  EXPECT_FALSE(said_by(Role::write, another));
  EXPECT_TRUE(said_by(Role::write, itself));
  for (const Role role : {Role::owner, Role::maintain}) {
    EXPECT_TRUE(said_by(role, everyone));
    EXPECT_TRUE(said_by(role, another));
  }
}

TEST(IndexObject, VouchesForNobodyUnlessItSaysSo) {
  SampleRepository sample;
  const auto id =
      publish_index(sample.storage, sample.keyring, sample.signer, {});
  const auto read = read_index(sample.storage, sample.keyring, id);

  EXPECT_FALSE(read.assurance.covers(sample.keyring.role_key()));
  EXPECT_TRUE(Assurance::for_everyone().covers(sample.keyring.role_key()));
}

TEST(IndexObject, EveryRoleThatWorksMaySignOneAndNoOther) {
  for (const Role role :
       {Role::owner, Role::restore, Role::list, Role::maintain, Role::write}) {
    SampleRepository sample;
    const Keyring keyring = sample.keyring.for_role(role);
    const Signer signer(crypto::Secret::random(), keyring);
    const auto id = publish_index(sample.storage, keyring, signer, {});
    if (role == Role::restore || role == Role::list) {
      EXPECT_THROW((void)read_index(sample.storage, sample.keyring, id),
                   CorruptionError);
    } else {
      EXPECT_NO_THROW((void)read_index(sample.storage, sample.keyring, id));
    }
  }
}

}  // namespace
}  // namespace cairn::repo
