#include "repo/snapshot.h"

#include <gtest/gtest.h>

#include "repo/cbor.h"
#include "repo/envelope.h"
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

SnapshotHeader random_header(std::mt19937_64& random) {
  SnapshotHeader header;
  header.time = {static_cast<std::int64_t>(random()),
                 static_cast<std::uint32_t>(random() % 1'000'000'000)};
  header.arrival = {static_cast<std::int64_t>(random() >> 20), 0};
  header.epoch = random() % 3;
  header.root = random_id<BlobId>(random);
  header.logical_bytes = random() >> (random() % 64);
  header.stored_bytes = random() >> (random() % 64);
  header.is_complete = random() % 2 == 0;
  header.sequence = random() % 1000;
  header.previous = random_id<BlobId>(random).bytes;
  header.entries = random() % 100'000;
  return header;
}

SnapshotRecord random_record(std::mt19937_64& random) {
  SnapshotRecord record;
  record.series = random_text(random, 300);
  record.host = random_text(random, 30);
  record.user = random_text(random, 30);
  for (auto n = random() % 4; n > 0; --n) {
    record.tags.push_back(random_text(random, 30));
    record.paths.push_back(random_text(random, 300) + "\xff");
  }
  for (auto n = random() % 4; n > 0; --n) {
    record.sources.push_back({random_text(random, 30) + "\xfe",
                              static_cast<SourceKind>(random() % 4),
                              static_cast<SourceStatus>(random() % 3), random(),
                              random() % 300, random_text(random, 30)});
    for (auto facts = random() % 3; facts > 0; --facts) {
      // Ascending, however random.
      record.sources.back().facts.insert(
          record.sources.back().facts.begin(),
          {std::string(facts, 'f'), random_text(random, 30)});
    }
  }
  record.program = "cairn 0.1";
  if (random() % 2 == 0) {
    record.origin = SnapshotOrigin{random_id<RepositoryId>(random),
                                   random_id<SessionId>(random)};
  }
  if (random() % 2 == 0) {
    record.repaired_from = random_id<SessionId>(random);
  }
  return record;
}

TEST(Snapshot, HeaderAndRecordComeBackAsTheyWere) {
  for_each_seed(100, [](auto& random) {
    const auto header = random_header(random);
    const auto record = random_record(random);
    EXPECT_EQ(decode_header(encode(header), "snapshot"), header);
    EXPECT_EQ(decode_record(encode(record), "snapshot"), record);
  });
}

TEST(Snapshot, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(2000, [](auto& random) {
    Bytes header = encode(random_header(random));
    Bytes record = encode(random_record(random));
    header[random() % header.size()] = static_cast<std::byte>(random());
    record[random() % record.size()] = static_cast<std::byte>(random());
    try {
      const auto decoded = decode_header(header, "snapshot");
      EXPECT_EQ(encode(decoded), header);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
    try {
      const auto encoded = encode(decode_record(record, "snapshot"));
      // Ignorable fields are passed over, and not written again.
      if (encoded.size() == record.size()) {
        EXPECT_EQ(encoded, record);
      }
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

TEST(Snapshot, ManyTagsAndALongPathComeBack) {
  SnapshotRecord record;
  record.tags.resize(150'000, "t");
  record.paths = {std::string(100'000, 'p')};
  EXPECT_EQ(decode_record(encode(record), "snapshot"), record);
}

class StoredSnapshot : public ::testing::Test {
 protected:
  StoredSnapshot() {
    committed = publish_snapshot(sample.storage, sample.keyring, sample.signer,
                                 id, header, record);
  }

  std::variant<Snapshot, Tombstone> read(const Keyring& keyring) const {
    return read_slot(sample.storage, keyring, id);
  }

  std::mt19937_64 random{1};
  SampleRepository sample;
  SessionId id = random_id<SessionId>(random);
  SnapshotHeader header = random_header(random);
  SnapshotRecord record = random_record(random);
  Committed committed{};
};

TEST_F(StoredSnapshot, IsNotPublishedWhereNobodyWouldTakeIt) {
  const SampleRepository other;
  const auto another = random_id<SessionId>(random);

  EXPECT_THROW(
      (void)publish_snapshot_that_opens(sample.storage, sample.keyring,
                                        other.signer, another, header, record),
      CorruptionError);
  EXPECT_FALSE(sample.storage.size(snapshot_name(another)));
  EXPECT_EQ(publish_snapshot_that_opens(sample.storage, sample.keyring,
                                        sample.signer, another, header, record)
                .outcome,
            Created::created);
}

TEST_F(StoredSnapshot, ComesBackWithItsSigner) {
  const auto slot = read(sample.keyring);
  const auto& snapshot = std::get<Snapshot>(slot);
  EXPECT_EQ(committed.outcome, Created::created);
  EXPECT_EQ(snapshot.id, id);
  EXPECT_EQ(snapshot.header, header);
  EXPECT_EQ(snapshot.record, record);
  EXPECT_EQ(snapshot.signer, sample.signer.chain());
  EXPECT_EQ(list_slots(sample.storage), std::vector<SessionId>{id});
}

TEST_F(StoredSnapshot, ItsDigestIsThatOfTheObject) {
  const auto object = get_whole(sample.storage, snapshot_name(id), 1U << 24);
  EXPECT_EQ(committed.object_digest, crypto::sha256(object));
}

TEST_F(StoredSnapshot, AMaintainerReadsTheHeaderAndNotTheRecord) {
  const auto slot = read(sample.keyring.for_role(Role::maintain));
  EXPECT_EQ(std::get<Snapshot>(slot).header, header);
  EXPECT_FALSE(std::get<Snapshot>(slot).record);
}

TEST_F(StoredSnapshot, EveryFlippedBitIsNoticed) {
  const std::string name = snapshot_name(id);
  const auto size = sample.storage.size(name).value();
  for (std::uint64_t at = 0; at < size; ++at) {
    MemoryStorage damaged = sample.storage;
    damaged.flip_bit(name, at, at % 8);
    EXPECT_THROW((void)read_slot(damaged, sample.keyring, id), Error) << at;
  }
}

// The SHA-256 at the end is no secret: who changes a byte writes it anew.
TEST_F(StoredSnapshot, EveryChangedByteIsNoticedThoughItsHashBeMadeAnew) {
  const std::string name = snapshot_name(id);
  const auto object = get_whole(sample.storage, name, 1U << 24);
  const auto body = std::span(object).subspan(
      kPrologueBytes, object.size() - kPrologueBytes - 32);
  for (std::size_t at = 0; at < body.size(); ++at) {
    Bytes changed(body.begin(), body.end());
    changed[at] ^= std::byte{1};
    MemoryStorage forged = sample.storage;
    forged.replace(name, enclose(ObjectType::snapshot, changed));
    EXPECT_THROW((void)read_slot(forged, sample.keyring, id), Error) << at;
  }
}

TEST_F(StoredSnapshot, ClaimsItsHeaderToEveryRole) {
  for (const Role role : {Role::owner, Role::write, Role::maintain}) {
    const auto claim =
        read_claim(sample.storage, sample.keyring.for_role(role), id);
    ASSERT_TRUE(claim);
    EXPECT_EQ(claim->id, id);
    EXPECT_EQ(claim->header, header);
  }
}

TEST_F(StoredSnapshot, DoesNotClaimAnythingWhenABitIsFlipped) {
  const std::string name = snapshot_name(id);
  const auto size = sample.storage.size(name).value();
  for (std::uint64_t at = 0; at < size; ++at) {
    MemoryStorage damaged = sample.storage;
    damaged.flip_bit(name, at, at % 8);
    EXPECT_THROW((void)read_claim(damaged, sample.keyring, id), Error) << at;
  }
}

TEST_F(StoredSnapshot, WithoutAKeyItsClaimCannotBeChanged) {
  const std::string name = snapshot_name(id);
  const auto object = get_whole(sample.storage, name, 1U << 24);
  const auto body = std::span(object).subspan(
      kPrologueBytes, object.size() - kPrologueBytes - 32);
  for (std::size_t at = 0; at < body.size(); ++at) {
    Bytes changed(body.begin(), body.end());
    changed[at] ^= std::byte{1};
    MemoryStorage forged = sample.storage;
    forged.replace(name, enclose(ObjectType::snapshot, changed));
    try {
      const auto claim = read_claim(forged, sample.keyring, id);
      ASSERT_TRUE(claim);
      EXPECT_EQ(claim->header, header) << at;
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  }
}

TEST_F(StoredSnapshot, ItCannotBeMovedToAnotherSlot) {
  const auto other = random_id<SessionId>(random);
  (void)sample.storage.create(
      snapshot_name(other),
      get_whole(sample.storage, snapshot_name(id), 1U << 24));
  EXPECT_THROW((void)read_slot(sample.storage, sample.keyring, other),
               CorruptionError);
  EXPECT_THROW((void)read_claim(sample.storage, sample.keyring, other),
               CorruptionError);
}

TEST_F(StoredSnapshot, ATakenSlotIsNotTakenAgain) {
  const auto again = publish_snapshot(sample.storage, sample.keyring,
                                      sample.signer, id, header, record);
  const auto tombstone = publish_tombstone(sample.storage, sample.keyring,
                                           sample.signer, {id, {5, 0}, "gone"});
  EXPECT_EQ(again.outcome, Created::exists);
  EXPECT_EQ(tombstone, Created::exists);
  EXPECT_TRUE(std::holds_alternative<Snapshot>(read(sample.keyring)));
}

TEST(Tombstone, ComesBackAsItWas) {
  SampleRepository sample;
  (void)publish_tombstone(sample.storage, sample.keyring, sample.signer,
                          {SessionId{}, {5, 6}, "gone"});
  const auto slot = read_slot(sample.storage, sample.keyring, SessionId{});
  const auto& tombstone = std::get<Tombstone>(slot);
  EXPECT_EQ(tombstone.time, (Timestamp{5, 6}));
  EXPECT_EQ(tombstone.reason, "gone");
  EXPECT_FALSE(read_claim(sample.storage, sample.keyring, SessionId{}));
}

TEST(Tombstone, OfAWriteKeyDoesNotCount) {
  SampleRepository sample;
  const Signer writer(crypto::Secret::random(),
                      sample.keyring.for_role(Role::write));
  (void)publish_tombstone(sample.storage, sample.keyring, writer,
                          {SessionId{}, {5, 6}, "gone"});
  EXPECT_THROW((void)read_slot(sample.storage, sample.keyring, SessionId{}),
               CorruptionError);
}

TEST(Snapshot, OfAnotherRepositoryOfTheFamilyDoesNotCount) {
  SampleRepository sample;
  const Keyring sister = Keyring::create_like(sample.keyring);
  const Signer stranger(crypto::Secret::random(), sister);
  (void)publish_snapshot(sample.storage, sister, stranger, SessionId{}, {}, {});
  EXPECT_THROW((void)read_slot(sample.storage, sample.keyring, SessionId{}),
               CorruptionError);
}

TEST(Snapshot, AnUnknownSourceStatusIsUnsupported) {
  SnapshotRecord record;
  record.sources.emplace_back();
  record.sources[0].status = static_cast<SourceStatus>(3);
  EXPECT_THROW((void)decode_record(encode(record), "snapshot"),
               UnsupportedFormat);
}

TEST(SeriesTag, IsTheSameForAllRolesAndAnotherForEachSeries) {
  const Keyring owner = Keyring::create();
  EXPECT_EQ(series_tag(owner, "host/db"),
            series_tag(owner.for_role(Role::write), "host/db"));
  EXPECT_NE(series_tag(owner, "host/db"), series_tag(owner, "host/dc"));
}

}  // namespace
}  // namespace cairn::repo
