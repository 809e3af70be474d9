#include "repo/key_rotation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/key_slot.h"
#include "repo/lost_generations.h"
#include "repo/mark.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "tests/support/memory_storage.h"

namespace cairn::repo {
namespace {

using testing_support::MemoryStorage;

constexpr Timestamp kNow{1'000, 0};

class KeyRotation : public ::testing::Test {
 protected:
  KeyRotation() {
    config.repository = keyring.repository();
    config.family = keyring.family();
    config.root_key = keyring.root_key();
    (void)add_key_file_slot(storage, keyring, Role::owner, owner_key, "owner",
                            kNow);
    writer_slot = add_key_file_slot(storage, keyring, Role::write, writer_key,
                                    "writer", kNow);
  }

  Keyring open(const crypto::Secret& key) const {
    return open_with_key_file(storage, config, key);
  }

  std::uint32_t rotate() {
    const Keyring owner = open(owner_key);
    return rotate_keys(storage, owner, slots_to_grant(storage, owner), kNow);
  }

  MemoryStorage storage;
  Keyring keyring = Keyring::create();
  Config config;
  crypto::Secret owner_key = crypto::Secret::random();
  crypto::Secret writer_key = crypto::Secret::random();
  KeySlotId writer_slot;
};

TEST_F(KeyRotation, GivesEachSlotTheNewKeysAsFarAsItsRoleHasThem) {
  EXPECT_EQ(rotate(), 2U);
  EXPECT_EQ(rotate(), 3U);

  const Keyring owner = open(owner_key);
  const Keyring writer = open(writer_key);
  for (const std::uint32_t number : {1U, 2U, 3U}) {
    const Generation* const whole = owner.find(number);
    const Generation* const part = writer.find(number);
    ASSERT_NE(whole, nullptr);
    ASSERT_NE(part, nullptr);
    EXPECT_TRUE(
        std::ranges::equal(whole->index_key.bytes(), part->index_key.bytes()));
    EXPECT_EQ(whole->public_keys, part->public_keys);
    for (const auto key_class :
         {KeyClass::content, KeyClass::names, KeyClass::links}) {
      EXPECT_TRUE(whole->secret_of(key_class));
      EXPECT_EQ(part->secret_of(key_class).has_value(),
                key_class == KeyClass::links);
    }
  }
  EXPECT_EQ(writer.newest().number, 3U);
  EXPECT_NE(owner.find(1)->public_keys, owner.find(2)->public_keys);
}

TEST_F(KeyRotation, ASlotMadeLaterHoldsAllGenerations) {
  (void)rotate();
  const auto late = crypto::Secret::random();
  (void)add_key_file_slot(storage, open(owner_key), Role::owner, late, "late",
                          kNow);
  for (const auto& name : generation_names(2)) storage.remove(name);

  EXPECT_EQ(open(late).generations().size(), 2U);
}

TEST_F(KeyRotation, WhoWasLeftOutDoesNotOpen) {
  const auto object =
      get_whole(storage, key_slot_name(writer_slot), std::uint64_t{1} << 16);
  storage.remove(key_slot_name(writer_slot));
  (void)rotate();
  (void)storage.create(key_slot_name(writer_slot), object);

  EXPECT_THROW((void)open(writer_key), WrongKey);
  EXPECT_EQ(open(owner_key).newest().number, 2U);
}

// Whoever writes to the storage could put a slot there whose key is its own.
TEST_F(KeyRotation, GrantsToSlotsThatAnOwnerMadeAlone) {
  const Keyring stranger = Keyring::create();
  (void)add_key_file_slot(storage, stranger, Role::owner,
                          crypto::Secret::random(), "planted", kNow);

  const Keyring owner = open(owner_key);
  const auto slots = slots_to_grant(storage, owner);

  EXPECT_EQ(list_key_slots(storage).slots.size(), 3U);
  ASSERT_EQ(slots.size(), 2U);
  for (const auto& slot : slots) EXPECT_NE(slot.label, "planted");
}

TEST_F(KeyRotation, ACertificateIsForItsRole) {
  auto slot = list_key_slots(storage).slots[0];
  ASSERT_TRUE(is_certified(slot, keyring.repository(), keyring.root_key()));
  slot.role = slot.role == Role::owner ? Role::write : Role::owner;
  EXPECT_FALSE(is_certified(slot, keyring.repository(), keyring.root_key()));
}

TEST_F(KeyRotation, IsRefusedWhileASlotIsDamaged) {
  const Keyring owner = open(owner_key);
  storage.flip_bit(key_slot_name(writer_slot), 100, 1);
  EXPECT_THROW((void)slots_to_grant(storage, owner), CorruptionError);
}

TEST_F(KeyRotation, OfTwoAtOnceOneHappens) {
  const Keyring first = open(owner_key);
  const Keyring second = open(owner_key);
  const auto slots = slots_to_grant(storage, first);
  EXPECT_EQ(rotate_keys(storage, first, slots, kNow), 2U);
  EXPECT_THROW((void)rotate_keys(storage, second, slots, kNow), LockedError);
  EXPECT_EQ(open(writer_key).newest().number, 2U);
}

TEST_F(KeyRotation, WhoWasRemovedMeanwhileDoesNotRenewThem) {
  const Keyring owner = open(owner_key);
  auto slots = slots_to_grant(storage, owner);
  std::erase_if(slots,
                [](const auto& slot) { return slot.role == Role::owner; });
  EXPECT_THROW((void)rotate_keys(storage, owner, slots, kNow),
               RefusedForSafety);
  EXPECT_TRUE(list_generations(storage).empty());
}

TEST_F(KeyRotation, AKeyThatIsAddedWhileTheyAreRenewedIsTakenBack) {
  const Keyring owner = open(owner_key);
  (void)rotate();
  EXPECT_THROW((void)add_key_file_slot(storage, owner, Role::write,
                                       crypto::Secret::random(), "late", kNow),
               LockedError);
  EXPECT_EQ(list_key_slots(storage).slots.size(), 2U);
}

TEST_F(KeyRotation, OneOfTheTwoCopiesIsEnough) {
  (void)rotate();
  const auto names = generation_names(2);
  for (const auto& lost : names) {
    SCOPED_TRACE(lost);
    storage.flip_bit(lost, 200, 1);
    EXPECT_EQ(open(writer_key).newest().number, 2U);
    mend_generation_objects(storage, open(owner_key));
    EXPECT_EQ(get_whole(storage, names[0], kMaxGenerationBytes),
              get_whole(storage, names[1], kMaxGenerationBytes));
    storage.remove(lost);
    EXPECT_EQ(open(writer_key).newest().number, 2U);
    mend_generation_objects(storage, open(owner_key));
    EXPECT_TRUE(storage.size(lost));
  }
}

// It is no newer program's, for which the other one would be left alone.
TEST_F(KeyRotation, ACopyWithAFlippedBitIsDamagedWhereverThatIs) {
  (void)rotate();
  const auto first = generation_names(2)[0];
  for (std::uint64_t at = 0; at < *storage.size(first); at += 3) {
    storage.flip_bit(first, at, at % 8);
    EXPECT_EQ(open(writer_key).newest().number, 2U) << at;
    storage.flip_bit(first, at, at % 8);
  }
}

// What was sealed before can be read, and nothing be written.
TEST_F(KeyRotation, WithBothCopiesDamagedTheKeysFromBeforeAreLeft) {
  (void)rotate();
  const auto names = generation_names(2);
  const auto size = *storage.size(names[0]);
  for (std::uint64_t at = 0; at < size; at += 7) {
    for (const auto& name : names) storage.flip_bit(name, at, at % 8);
    const Keyring opened = open(owner_key);
    EXPECT_EQ(opened.newest().number, 1U) << at;
    EXPECT_TRUE(opened.later_keys_lost()) << at;
    for (const auto& name : names) storage.flip_bit(name, at, at % 8);
  }
  EXPECT_FALSE(open(owner_key).later_keys_lost());
}

TEST_F(KeyRotation, AKeyThatWasAddedOrRemovedMeanwhileIsReckonedWith) {
  const Keyring owner = open(owner_key);
  const auto asked_about = slots_to_grant(storage, owner);
  storage.remove(key_slot_name(writer_slot));
  const auto late = crypto::Secret::random();
  (void)add_key_file_slot(storage, owner, Role::write, late, "late", kNow);

  EXPECT_EQ(rotate_keys(storage, owner, asked_about, kNow), 3U);

  EXPECT_EQ(open(late).newest().number, 3U);
  const auto object = read_generation_object(storage, 3, keyring.repository(),
                                             keyring.root_key());
  EXPECT_EQ(object.grants.size(), 2U);
}

TEST_F(KeyRotation, GenerationsThatANewerOneReplacesAreRemoved) {
  (void)rotate();
  (void)rotate();
  mend_generation_objects(storage, open(owner_key));
  EXPECT_EQ(list_generations(storage), std::vector<std::uint32_t>{3});
  EXPECT_EQ(open(writer_key).generations().size(), 3U);
}

// What was sealed with a lost generation would look damaged, and its keys could
// not be brought back.
TEST_F(KeyRotation, DoesNotGiveANumberAgainThatOnlyAMarkBears) {
  using Leave = std::function<void(const Keyring&, const Signer&)>;
  const std::map<std::string, Leave> kinds{
      {"mark",
       [&](const Keyring& renewed, const Signer& signer) {
         (void)publish_mark(storage, renewed, signer,
                            {MarkAction::forget, SessionId{}, kNow, "", {}});
       }},
      {"epoch",
       [&](const Keyring& renewed, const Signer& signer) {
         Epoch epoch;
         epoch.number = 1;
         (void)publish_epoch(storage, renewed, signer, epoch);
       }},
      {"registration",
       [&](const Keyring& renewed, const Signer& signer) {
         Session session(storage, renewed, signer, kNow);
       }},
      {"snapshot",
       [&](const Keyring& renewed, const Signer& signer) {
         (void)publish_snapshot(storage, renewed, signer, SessionId{}, {}, {});
       }},
  };
  for (const auto& [kind, leave] : kinds) {
    SCOPED_TRACE(kind);
    const auto before = storage;
    (void)rotate();
    {
      const Keyring renewed = open(owner_key);
      leave(renewed, Signer(crypto::Secret::random(), renewed));
    }
    for (const auto& name : generation_names(2)) storage.remove(name);

    EXPECT_THROW((void)rotate(), RefusedForSafety);

    EXPECT_TRUE(list_generations(storage).empty());
    storage = before;
  }
}

// Whoever may create objects can put one there.
TEST_F(KeyRotation, AFalseGenerationFarAboveIsRemovedByARepair) {
  (void)rotate();
  constexpr std::uint32_t kFarAbove = 0x7fffffff;
  const std::vector<std::byte> garbage(200, std::byte{7});
  (void)storage.create(generation_names(kFarAbove)[0], garbage);
  const Keyring owner = open(owner_key);
  ASSERT_TRUE(owner.later_keys_lost());

  const std::vector<std::uint32_t> found{kFarAbove};
  EXPECT_EQ(drop_false_generations(storage, owner, Carry::plan_only), found);
  EXPECT_TRUE(open(owner_key).later_keys_lost());
  EXPECT_EQ(drop_false_generations(storage, owner, Carry::out), found);

  EXPECT_FALSE(open(owner_key).later_keys_lost());
  EXPECT_EQ(list_generations(storage), std::vector<std::uint32_t>{2});
  EXPECT_EQ(rotate(), 3U);
}

TEST_F(KeyRotation, OneThatSomethingWasSealedWithStays) {
  (void)rotate();
  {
    const Keyring renewed = open(owner_key);
    (void)publish_mark(storage, renewed,
                       Signer(crypto::Secret::random(), renewed),
                       {MarkAction::forget, SessionId{}, kNow, "", {}});
  }
  for (const auto& name : generation_names(2)) storage.flip_bit(name, 300, 1);
  const Keyring owner = open(owner_key);
  ASSERT_TRUE(owner.later_keys_lost());

  EXPECT_THROW((void)drop_false_generations(storage, owner, Carry::out),
               RefusedForSafety);

  EXPECT_EQ(list_generations(storage), std::vector<std::uint32_t>{2});
}

TEST(GenerationObject, HasTwoNamesAndNoOther) {
  for (const std::uint32_t number : {1U, 2U, 255U, 0xfffffffeU}) {
    for (const auto& name : generation_names(number)) {
      EXPECT_EQ(generation_number(name), number);
    }
  }
  for (const auto* const name :
       {"generations/0", "generations/00000000", "generations/0000000A",
        "generations/00000002.copies", "generations/000000002",
        "generation/00000002", "generations/", "epochs/00000002"}) {
    EXPECT_EQ(generation_number(name), 0U) << name;
  }
}

}  // namespace
}  // namespace cairn::repo
