#include "repo/epoch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "repo/error.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_id;
using testing_support::SampleRepository;

Epoch numbered(std::uint64_t number) {
  Epoch epoch;
  epoch.number = number;
  return epoch;
}

Epoch random_epoch(std::mt19937_64& random, std::uint64_t number) {
  Epoch epoch = numbered(number);
  epoch.previous = random_id<BlobId>(random).bytes;
  epoch.time = {static_cast<std::int64_t>(random()), 7};
  const auto few = [&] { return random() % 4; };
  for (auto n = few(); epoch.is_condemnation() && n > 0; --n) {
    epoch.condemned.push_back(random_id<PackId>(random));
  }
  for (auto n = few(); n > 0; --n) {
    epoch.doomed.push_back({random_id<PackId>(random), {5, 6}});
  }
  for (auto n = few(); n > 0; --n) {
    epoch.snapshots.push_back(random_id<SessionId>(random));
  }
  std::ranges::sort(epoch.snapshots);
  return epoch;
}

Created publish(SampleRepository& sample, const Epoch& epoch) {
  return publish_epoch(sample.storage, sample.keyring, sample.signer, epoch);
}

TEST(Epoch, ComesBackAsItWas) {
  for_each_seed(200, [](auto& random) {
    const Epoch epoch = random_epoch(random, 1 + random() % 2);
    EXPECT_EQ(decode_epoch(encode(epoch), epoch.number, "epoch"), epoch);
  });
}

TEST(Epoch, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(3000, [](auto& random) {
    const std::uint64_t number = 1 + random() % 2;
    Bytes bytes = encode(random_epoch(random, number));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      EXPECT_EQ(encode(decode_epoch(bytes, number, "epoch")), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(Epoch, ADoomThatCondemnsIsRefused) {
  Epoch epoch = numbered(1);
  epoch.condemned.resize(1);

  EXPECT_NO_THROW((void)decode_epoch(encode(epoch), 1, "epoch"));
  EXPECT_THROW((void)decode_epoch(encode(epoch), 2, "epoch"), CorruptionError);
}

TEST(Epoch, SnapshotsOutOfOrderOrTwiceAreRefused) {
  std::mt19937_64 random(1);
  Epoch epoch = numbered(2);
  epoch.snapshots = {random_id<SessionId>(random),
                     random_id<SessionId>(random)};
  std::ranges::sort(epoch.snapshots, std::greater());
  EXPECT_THROW((void)decode_epoch(encode(epoch), 2, "epoch"), CorruptionError);
  epoch.snapshots[1] = epoch.snapshots[0];
  EXPECT_THROW((void)decode_epoch(encode(epoch), 2, "epoch"), CorruptionError);
}

TEST(StoredEpoch, NamesAreNumbersOfSixteenDigits) {
  EXPECT_EQ(epoch_name(255), "epochs/00000000000000ff");
  EXPECT_EQ(epoch_number("epochs/00000000000000ff"), 255U);
  for (const auto* const name :
       {"epochs/ff", "epochs/00000000000000FF", "epochs/0000000000000000",
        "epochs/00000000000000fg", "epochs/000000000000000ff", "marks/01",
        ""}) {
    EXPECT_EQ(epoch_number(name), 0U) << name;
  }
}

TEST(StoredEpoch, TheNewestIsTheOneWithTheHighestNumber) {
  SampleRepository sample;
  EXPECT_EQ(read_epochs(sample.storage, sample.keyring).newest, Epoch{});
  std::mt19937_64 random(1);
  for (std::uint64_t number = 1; number <= 17; ++number) {
    Epoch epoch = random_epoch(random, number);
    ASSERT_EQ(publish(sample, epoch), Created::created);
    const EpochLog log = read_epochs(sample.storage, sample.keyring);
    epoch.previous = log.newest.previous;
    EXPECT_EQ(log.newest, epoch);
    EXPECT_EQ(log.last, number);
  }
}

TEST(StoredEpoch, NamesTheDigestOfTheOneBefore) {
  SampleRepository sample;
  (void)publish(sample, numbered(1));
  (void)publish(sample, numbered(2));
  const auto bytes = get_whole(sample.storage, epoch_name(1), 1 << 20);

  EXPECT_EQ(read_epoch(sample.storage, sample.keyring, 1).previous,
            crypto::Digest{});
  EXPECT_EQ(read_epoch(sample.storage, sample.keyring, 2).previous,
            crypto::sha256(bytes));
}

TEST(StoredEpoch, OfTwoCollectorsOneIsFirst) {
  SampleRepository sample;
  EXPECT_EQ(publish(sample, numbered(1)), Created::created);
  EXPECT_EQ(publish(sample, numbered(1)), Created::exists);
}

// Old epochs are removed, so its name is free again.
TEST(StoredEpoch, OfACollectorThatSleptDoesNotCount) {
  SampleRepository sample;
  for (std::uint64_t number = 1; number <= 6; ++number) {
    (void)publish(sample, numbered(number));
  }
  sample.storage.remove(epoch_name(1));

  EXPECT_EQ(publish(sample, numbered(1)), Created::exists);

  EXPECT_EQ(read_epochs(sample.storage, sample.keyring).last, 6U);
}

// Others went on from it while its collector slept.
TEST(StoredEpoch, StaysWhenANewerOneIsThereBeforeItsCollectorLooks) {
  class GoesOn : public testing_support::MemoryStorage {
   public:
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      const Created created = MemoryStorage::create(name, bytes);
      if (on_create) std::exchange(on_create, {})();
      return created;
    }
    std::function<void()> on_create;
  };
  SampleRepository sample;
  GoesOn storage;
  storage.on_create = [&] {
    (void)publish_epoch(storage, sample.keyring, sample.signer, numbered(2));
  };

  EXPECT_EQ(publish_epoch(storage, sample.keyring, sample.signer, numbered(1)),
            Created::exists);

  EXPECT_EQ(list_epochs(storage), (std::vector<std::uint64_t>{1, 2}));
}

// Whoever pins the one before it is safe, as FORMAT.md, 11, says why.
TEST(StoredEpoch, BehindOneThatCannotBeReadTheOneBeforeCanBePinned) {
  SampleRepository sample;
  for (std::uint64_t number = 1; number <= 3; ++number) {
    (void)publish(sample, numbered(number));
  }
  const auto log = [&] { return read_epochs(sample.storage, sample.keyring); };
  sample.storage.flip_bit(epoch_name(3), 80, 1);
  EXPECT_EQ(log().newest.number, 2U);
  EXPECT_EQ(log().last, 3U);
  EXPECT_TRUE(log().can_be_pinned());

  sample.storage.flip_bit(epoch_name(2), 80, 1);
  EXPECT_EQ(log().newest.number, 1U);
  EXPECT_EQ(log().last, 3U);
  EXPECT_FALSE(log().can_be_pinned());
}

// Anybody who may write to the storage can put one there.
TEST(StoredEpoch, AStrangeOneFarAboveChangesNothing) {
  SampleRepository sample;
  (void)publish(sample, numbered(1));
  for (const std::uint64_t number : {std::uint64_t{9}, kMaxEpochNumber}) {
    (void)sample.storage.create(epoch_name(number),
                                testing_support::bytes_of("?"));
  }

  const auto log = read_epochs(sample.storage, sample.keyring);
  EXPECT_EQ(log.newest.number, 1U);
  EXPECT_EQ(log.last, 1U);
  EXPECT_EQ(publish(sample, numbered(2)), Created::created);
  EXPECT_TRUE(is_newest(sample.storage, sample.keyring, 2));
  EXPECT_FALSE(is_newest(sample.storage, sample.keyring, 1));
}

TEST(StoredEpoch, IsOfAnOwnerOrAMaintainKeyAlone) {
  for (const Role role : {Role::owner, Role::maintain, Role::write}) {
    SampleRepository sample;
    const Keyring keyring = sample.keyring.for_role(role);
    const Signer signer(crypto::Secret::random(), keyring);
    (void)publish_epoch(sample.storage, keyring, signer, numbered(1));
    if (role == Role::write) {
      EXPECT_THROW((void)read_epoch(sample.storage, sample.keyring, 1),
                   CorruptionError);
    } else {
      EXPECT_EQ(read_epoch(sample.storage, sample.keyring, 1).number, 1U);
    }
  }
}

TEST(StoredEpoch, UnderAnotherNumberIsRefused) {
  SampleRepository sample;
  (void)publish(sample, numbered(1));
  const auto bytes = get_whole(sample.storage, epoch_name(1), 1 << 20);
  (void)sample.storage.create(epoch_name(3), bytes);

  EXPECT_THROW((void)read_epoch(sample.storage, sample.keyring, 3),
               CorruptionError);
}

TEST(LastDoom, VoidsWhatIsPinnedBeforeItsPassAndNotListed) {
  std::mt19937_64 random(1);
  Epoch doom = numbered(6);
  doom.snapshots = {random_id<SessionId>(random)};
  const SessionId listed = doom.snapshots[0];
  const auto other = random_id<SessionId>(random);
  const LastDoom last(doom);

  EXPECT_FALSE(last.is_void(listed, 0));
  EXPECT_FALSE(last.is_void(listed, 4));
  EXPECT_TRUE(last.is_void(other, 0));
  EXPECT_TRUE(last.is_void(other, 4));
  EXPECT_FALSE(last.is_void(other, 5));
  EXPECT_FALSE(last.is_void(other, 6));
  EXPECT_FALSE(LastDoom().is_void(other, 0));
}

TEST(LastDoom, IsTheNewestEvenWhileAPassIsOpen) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const auto stranger = random_id<SessionId>(random);
  const auto is_void = [&](std::uint64_t pin) {
    return read_last_doom(sample.storage, sample.keyring)
        .is_void(stranger, pin);
  };
  EXPECT_FALSE(is_void(0));
  (void)publish(sample, numbered(1));
  EXPECT_FALSE(is_void(0));
  (void)publish(sample, numbered(2));
  EXPECT_TRUE(is_void(0));
  EXPECT_FALSE(is_void(1));
  (void)publish(sample, numbered(3));
  EXPECT_FALSE(is_void(1));
  (void)publish(sample, numbered(4));
  EXPECT_TRUE(is_void(1));
  EXPECT_TRUE(is_void(2));
  EXPECT_FALSE(is_void(3));
}

TEST(LastDoom, IsAnOlderOneWhereTheNewestCannotBeRead) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const auto stranger = random_id<SessionId>(random);
  for (std::uint64_t number = 1; number <= 4; ++number) {
    (void)publish(sample, numbered(number));
  }
  sample.storage.flip_bit(epoch_name(4), 80, 1);

  const auto doom = read_last_doom(sample.storage, sample.keyring);

  EXPECT_TRUE(doom.is_void(stranger, 0));
  EXPECT_FALSE(doom.is_void(stranger, 2));
}

}  // namespace
}  // namespace cairn::repo
