#include "repo/mark.h"

#include <gtest/gtest.h>

#include "repo/error.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::MemoryStorage;
using testing_support::random_id;
using testing_support::random_text;
using testing_support::SampleRepository;

Mark random_mark(std::mt19937_64& random) {
  Mark mark{static_cast<MarkAction>(random() % 3),
            random_id<SessionId>(random),
            {static_cast<std::int64_t>(random()), 5},
            random_text(random, 300),
            std::nullopt};
  if (random() % 2 == 0) mark.until = Timestamp{7, 8};
  return mark;
}

TEST(Mark, ComesBackAsItWas) {
  for_each_seed(100, [](auto& random) {
    const Mark mark = random_mark(random);
    EXPECT_EQ(decode_mark(encode(mark), "mark"), mark);
  });
}

TEST(Mark, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(2000, [](auto& random) {
    Bytes bytes = encode(random_mark(random));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const auto mark = decode_mark(bytes, "mark");
      EXPECT_EQ(encode(mark), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(Mark, ALongReasonIsReadBack) {
  SampleRepository sample;
  const Mark mark{MarkAction::hold, {}, {}, std::string(10'000, 'x'), {}};
  (void)publish_mark(sample.storage, sample.keyring, sample.signer, mark);
  EXPECT_EQ(read_marks(sample.storage, sample.keyring).at(0).mark, mark);
}

TEST(Mark, AReasonThatNoReaderWouldTakeIsRefused) {
  SampleRepository sample;
  const Mark mark{MarkAction::hold, {}, {}, std::string(65'536, 'x'), {}};
  EXPECT_THROW(
      (void)publish_mark(sample.storage, sample.keyring, sample.signer, mark),
      Error);
  EXPECT_TRUE(read_marks(sample.storage, sample.keyring).empty());
}

TEST(Mark, EveryFlippedBitIsNoticed) {
  SampleRepository sample;
  const auto id =
      publish_mark(sample.storage, sample.keyring, sample.signer, Mark{});
  const auto size = sample.storage.size(mark_name(id)).value();
  for (std::uint64_t at = 0; at < size; ++at) {
    MemoryStorage damaged = sample.storage;
    damaged.flip_bit(mark_name(id), at, at % 8);
    EXPECT_THROW((void)read_marks(damaged, sample.keyring), Error) << at;
  }
}

TEST(Mark, OfAWriteKeyDoesNotCount) {
  SampleRepository sample;
  const Keyring writer = sample.keyring.for_role(Role::write);
  const Signer signer(crypto::Secret::random(), writer);
  (void)publish_mark(sample.storage, writer, signer, Mark{});
  EXPECT_THROW((void)read_marks(sample.storage, sample.keyring),
               CorruptionError);
}

TEST(Mark, UnderAnotherNameDoesNotCount) {
  SampleRepository sample;
  const auto id =
      publish_mark(sample.storage, sample.keyring, sample.signer, Mark{});
  const auto object = get_whole(sample.storage, mark_name(id), 1U << 16);
  sample.storage.remove(mark_name(id));
  (void)sample.storage.create(mark_name(MarkId{}), object);
  EXPECT_THROW((void)read_marks(sample.storage, sample.keyring),
               CorruptionError);
}

TEST(Holds, HoldUntilTheirTimeOrTheirRelease) {
  std::mt19937_64 random(1);
  const auto hold_of = [&](std::optional<Timestamp> until) {
    return StoredMark{
        random_id<MarkId>(random),
        {MarkAction::hold, random_id<SessionId>(random), {}, "", until}};
  };
  const StoredMark for_ever = hold_of(std::nullopt);
  const StoredMark until_ten = hold_of(Timestamp{10, 0});
  const StoredMark released = hold_of(std::nullopt);
  const StoredMark release{
      random_id<MarkId>(random),
      {MarkAction::release, SessionId{released.id.bytes}, {}, "", {}}};
  const std::vector<StoredMark> marks = {for_ever, until_ten, released,
                                         release};

  const auto before = active_holds(marks, {9, 999'999'999});
  const auto at_ten = active_holds(marks, {10, 0});

  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(before[0].id, for_ever.id);
  EXPECT_EQ(before[1].id, until_ten.id);
  ASSERT_EQ(at_ten.size(), 1U);
  EXPECT_EQ(at_ten[0].id, for_ever.id);
}

}  // namespace
}  // namespace cairn::repo
