#include "repo/key_slot.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/memory_storage.h"
#include "tests/support/observed_storage.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::for_each_seed;
using testing_support::MemoryStorage;

constexpr crypto::PassphraseCost kCheap{2, std::uint64_t{64} << 20};
constexpr Timestamp kNow{1'000, 0};

Config config_of(const Keyring& keyring) {
  Config config;
  config.repository = keyring.repository();
  config.family = keyring.family();
  config.root_key = keyring.root_key();
  return config;
}

TEST(KeySlot, APassphraseSlotGivesTheSameKeysBack) {
  MemoryStorage storage;
  const Keyring keyring = Keyring::create();
  const auto id = add_passphrase_slot(storage, keyring, Role::owner, "secret",
                                      kCheap, "laptop", kNow);

  const Keyring opened =
      open_with_passphrase(storage, config_of(keyring), "secret");

  const Bytes plain = bytes_of("some bytes");
  EXPECT_EQ(opened.role(), Role::owner);
  EXPECT_EQ(opened.id_of(BlobKind::content, plain),
            keyring.id_of(BlobKind::content, plain));
  EXPECT_EQ(crypto::verify_key_of(opened.signing_seed()), keyring.root_key());
  const auto slots = list_key_slots(storage).slots;
  ASSERT_EQ(slots.size(), 1U);
  EXPECT_EQ(slots[0].id, id);
  EXPECT_EQ(slots[0].label, "laptop");
  EXPECT_EQ(slots[0].method, KeyMethod::passphrase);
}

class KeySlots : public ::testing::Test {
 protected:
  KeySlots() {
    slot =
        add_key_file_slot(storage, keyring, Role::owner, key, "recovery", kNow);
  }

  Keyring open() const {
    return open_with_key_file(storage, config_of(keyring), key);
  }

  MemoryStorage storage;
  Keyring keyring = Keyring::create();
  crypto::Secret key = crypto::Secret::random();
  KeySlotId slot;
};

TEST_F(KeySlots, AnotherKeyFileIsAWrongKey) {
  const auto other = crypto::Secret::random();
  EXPECT_THROW((void)open_with_key_file(storage, config_of(keyring), other),
               WrongKey);
}

TEST_F(KeySlots, EveryFlippedBitIsDamageAndNotAWrongKey) {
  const std::string name = key_slot_name(slot);
  const auto size = storage.size(name).value();
  for (std::uint64_t at = 0; at < size; ++at) {
    MemoryStorage damaged = storage;
    damaged.flip_bit(name, at, at % 8);
    try {
      (void)open_with_key_file(damaged, config_of(keyring), key);
      ADD_FAILURE() << "byte " << at;
    } catch (const CorruptionError&) {
    } catch (const WrongKey&) {
      EXPECT_EQ(at, 9U);  // the format byte: the slot of a newer program
    }
  }
}

TEST_F(KeySlots, ADamagedSlotDoesNotKeepAnotherFromOpening) {
  const auto second = crypto::Secret::random();
  (void)add_key_file_slot(storage, keyring, Role::owner, second, "second",
                          kNow);
  storage.flip_bit(key_slot_name(slot), 100, 3);
  EXPECT_NO_THROW(
      (void)open_with_key_file(storage, config_of(keyring), second));
  EXPECT_THROW((void)open(), CorruptionError);
}

TEST_F(KeySlots, ASlotOfAnotherRepositoryIsRefused) {
  const Keyring other = Keyring::create();
  EXPECT_THROW((void)open_with_key_file(storage, config_of(other), key),
               CorruptionError);
}

KeySlot slot_of(const MemoryStorage& storage, const KeySlotId& id) {
  const auto slots = list_key_slots(storage).slots;
  return *std::ranges::find(slots, id, &KeySlot::id);
}

TEST_F(KeySlots, TheOneThatOpenedIsNotRemoved) {
  // Neither a slot copied from elsewhere nor a second owner changes that.
  const auto other = crypto::Secret::random();
  (void)add_key_file_slot(storage, Keyring::create(), Role::owner, other, "",
                          kNow);
  (void)add_key_file_slot(storage, keyring, Role::owner, other, "", kNow);
  const Keyring opened = open();
  EXPECT_EQ(opened.opened_slot(), slot);
  EXPECT_THROW(remove_key_slot(storage, opened, slot_of(storage, slot)),
               RefusedForSafety);
  EXPECT_NO_THROW((void)open());
}

TEST_F(KeySlots, OneIsRemovedByWhoOpenedAnother) {
  const auto other = crypto::Secret::random();
  const auto second =
      add_key_file_slot(storage, keyring, Role::owner, other, "", kNow);
  remove_key_slot(storage, open(), slot_of(storage, second));
  EXPECT_EQ(list_key_slots(storage).slots.size(), 1U);
  EXPECT_THROW((void)open_with_key_file(storage, config_of(keyring), other),
               WrongKey);
}

TEST_F(KeySlots, OneIsLeftWhenTwoOwnersRemoveEachOther) {
  const auto other = crypto::Secret::random();
  const auto second =
      add_key_file_slot(storage, keyring, Role::owner, other, "", kNow);
  const Keyring first_owner = open();
  const Keyring second_owner =
      open_with_key_file(storage, config_of(keyring), other);
  for (int moment = 0; moment < 4; ++moment) {
    MemoryStorage disk = storage;
    testing_support::ObservedStorage between(disk);
    int writes = 0;
    between.before_write = [&](std::string_view) {
      if (writes++ != moment) return;
      try {
        remove_key_slot(disk, second_owner, slot_of(disk, slot));
      } catch (const RefusedForSafety&) {
      }
    };
    try {
      remove_key_slot(between, first_owner, slot_of(disk, second));
    } catch (const Error&) {
    }

    bool is_left = false;
    for (const crypto::Secret* left : {&std::as_const(key), &other}) {
      try {
        (void)open_with_key_file(disk, config_of(keyring), *left);
        is_left = true;
      } catch (const WrongKey&) {
      }
    }
    EXPECT_TRUE(is_left) << moment;
  }
}

TEST_F(KeySlots, AnotherRootKeyInTheConfigIsNoticed) {
  Config config = config_of(keyring);
  config.root_key[5] ^= std::byte{1};
  EXPECT_THROW((void)open_with_key_file(storage, config, key), CorruptionError);
}

TEST_F(KeySlots, OtherSizesInTheConfigAreNoticed) {
  for (auto size : {&Config::cdc_min, &Config::cdc_normal, &Config::cdc_max,
                    &Config::page_chunk}) {
    Config config = config_of(keyring);
    config.*size *= 2;
    EXPECT_THROW((void)open_with_key_file(storage, config, key),
                 CorruptionError);
  }
}

TEST_F(KeySlots, ALabelThatIsTooLongIsRefusedBeforeItIsWritten) {
  const std::string label(std::size_t{64} << 10, 'x');
  EXPECT_THROW(
      (void)add_key_file_slot(storage, keyring, Role::owner, key, label, kNow),
      Error);
  EXPECT_EQ(list_key_slots(storage).slots.size(), 1U);
}

TEST_F(KeySlots, ALongLabelComesBack) {
  const std::string label(5'000, 'x');
  (void)add_key_file_slot(storage, keyring, Role::owner, key, label, kNow);
  const auto slots = list_key_slots(storage).slots;
  EXPECT_TRUE(std::ranges::any_of(
      slots, [&](const KeySlot& each) { return each.label == label; }));
}

struct PlainSlot {
  std::uint64_t role = 0;
  std::uint64_t method = 0;
  std::uint64_t passes = 3;
  std::uint64_t memory = std::uint64_t{64} << 20;
};

// A slot that no writer would write, whole and with its SHA-256.
void store_slot(MemoryStorage& storage, const PlainSlot& slot) {
  CborWriter out;
  out.map(9).key(1).uint(slot.role).key(2).uint(slot.method);
  out.key(3).bytes(Bytes(16)).key(4).uint(slot.passes);
  out.key(5).uint(slot.memory).key(6).bytes(Bytes(32));
  out.key(7).bytes(Bytes(64)).key(8).text("").key(9).array(2).sint(0).uint(0);
  (void)storage.create(key_slot_name(KeySlotId{}),
                       enclose(ObjectType::key_slot, out.view()));
}

TEST(KeySlot, ACostOutsideTheBoundsIsRefusedBeforeAnyMemoryIsTaken) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const PlainSlot slots[] = {
      {.passes = 1},
      {.passes = 33},
      {.memory = 63 * kMiB},
      {.memory = 1025 * kMiB},
      {.memory = ~std::uint64_t{0}},
      {.passes = 0, .memory = 0},
      {.method = 1},  // a key file costs nothing
  };
  for (const PlainSlot& slot : slots) {
    MemoryStorage storage;
    store_slot(storage, slot);
    const Keyring keyring = Keyring::create();
    EXPECT_THROW(
        (void)open_with_passphrase(storage, config_of(keyring), "words"),
        CorruptionError);
  }
}

// Its cost alone would take minutes.
TEST(KeySlot, ACostlySlotThatWasPlantedIsNotTriedBeforeTheTrueOne) {
  MemoryStorage storage;
  store_slot(storage, {.passes = crypto::PassphraseCost::kMaxPasses,
                       .memory = crypto::PassphraseCost::kMaxMemoryBytes});
  const Keyring keyring = Keyring::create();
  const auto id = add_passphrase_slot(storage, keyring, Role::owner, "secret",
                                      kCheap, "", kNow);
  ASSERT_LT(KeySlotId{}, id);

  EXPECT_EQ(
      open_with_passphrase(storage, config_of(keyring), "secret").opened_slot(),
      id);
}

TEST(KeySlot, ASlotOfAnUnknownRoleIsPassedOver) {
  MemoryStorage storage;
  const Keyring keyring = Keyring::create();
  const auto key = crypto::Secret::random();
  (void)add_key_file_slot(storage, keyring, Role::owner, key, "", kNow);
  store_slot(storage, {.role = 5});

  EXPECT_NO_THROW((void)open_with_key_file(storage, config_of(keyring), key));
  EXPECT_EQ(list_key_slots(storage).slots.size(), 1U);
  EXPECT_THROW((void)open_with_passphrase(storage, config_of(keyring), "words"),
               WrongKey);
}

}  // namespace
}  // namespace cairn::repo
