#include "repo/pack_writer.h"

#include <gtest/gtest.h>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::Call;
using testing_support::FaultyStorage;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::SampleRepository;

TEST(PackWriter, TheDirectoryReadBackIsTheOneThatFinishAnswers) {
  for_each_seed(20, [](auto& random) {
    SampleRepository sample;
    std::vector<EncodedBlob> blobs;
    for (auto n = random() % 10; n > 0; --n) {
      const auto kind = random() % 2 == 0 ? BlobKind::links : BlobKind::names;
      blobs.push_back(
          sample.encode(random_bytes(random, 1 + random() % 9999), kind));
    }

    const IndexedPack pack = sample.store(blobs);
    const auto read =
        read_pack_directory(sample.storage, sample.keyring, pack.id);

    EXPECT_EQ(read.pack, pack);
    EXPECT_EQ(pack.directory.rows.size(), blobs.size());
    EXPECT_EQ(padme(pack.size), pack.size);
    EXPECT_EQ(list_packs(sample.storage),
              (std::vector<StoredPack>{{pack.id, pack.size}}));
  });
}

TEST(PackWriter, ItsNameIsTheHashOfItsBytes) {
  SampleRepository sample;
  const auto pack = sample.store({sample.encode(Bytes(1000))});
  const auto bytes =
      get_whole(sample.storage, pack_name(pack.id), kMaxPackBytes);
  EXPECT_EQ(crypto::sha256(bytes), pack.id.bytes);
}

TEST(PackWriter, BlobsLieWhereTheRowsSay) {
  std::mt19937_64 random(1);
  SampleRepository sample;
  const std::vector<EncodedBlob> blobs = {
      sample.encode(random_bytes(random, 100)), sample.encode(Bytes(5000)),
      sample.encode(random_bytes(random, 1))};
  const auto pack = sample.store(blobs);
  std::uint64_t offset = kPackHeadBytes;
  for (const auto& blob : blobs) {
    Bytes stored(blob.row.stored_size);
    sample.storage.get(pack_name(pack.id), offset, stored);
    EXPECT_EQ(stored, blob.stored);
    offset += stored.size();
  }
}

TEST(PackWriter, TheSizeItForetellsIsNotExceededBeforePadding) {
  SampleRepository sample;
  PackWriter writer(sample.storage, sample.keyring.newest());
  for (int i = 0; i < 2000; ++i) {
    const auto blob = sample.encode(Bytes(1));
    writer.add(blob.row, sample.keys.wrapped(KeyClass::content), blob.stored);
  }
  const auto foretold = writer.size_if_finished();
  const auto pack = std::move(writer).finish();
  EXPECT_LE(pack.size, padme(foretold));
  EXPECT_EQ(pack.directory.keys.size(), 1U);
}

TEST(PackWriter, WhatIsNotFinishedLeavesNothing) {
  SampleRepository sample;
  {
    PackWriter writer(sample.storage, sample.keyring.newest());
    const auto blob = sample.encode(Bytes(100));
    writer.add(blob.row, sample.keys.wrapped(KeyClass::content), blob.stored);
  }
  EXPECT_TRUE(list_packs(sample.storage).empty());
}

TEST(PackWriter, AFullDiskLeavesNothing) {
  SampleRepository sample;
  FaultyStorage faulty(sample.storage);
  faulty.fail(Call::append, 3, OutOfSpace("full"));
  const auto blob = sample.encode(Bytes(100));
  PackWriter writer(faulty, sample.keyring.newest());
  writer.add(blob.row, sample.keys.wrapped(KeyClass::content), blob.stored);
  EXPECT_THROW((void)std::move(writer).finish(), OutOfSpace);
  EXPECT_TRUE(list_packs(sample.storage).empty());
}

TEST(PackReader, EveryFlippedByteOutsideTheBlobsIsNoticed) {
  SampleRepository sample;
  const auto pack = sample.store({sample.encode(Bytes(100))});
  const auto whole =
      read_pack_directory(sample.storage, sample.keyring, pack.id);
  const auto blobs_end =
      kPackHeadBytes + pack.directory.rows.front().stored_size;
  for (std::uint64_t at = 0; at < pack.size; at += at < 48 ? 1 : 89) {
    if (at >= kPackHeadBytes && at < whole.directory_offset) continue;
    auto damaged = sample.storage;
    damaged.flip_bit(pack_name(pack.id), at, at % 8);
    EXPECT_THROW((void)read_pack_directory(damaged, sample.keyring, pack.id),
                 Error)
        << at;
  }
  EXPECT_LE(blobs_end, whole.directory_offset);
}

TEST(PackReader, AShortenedPackIsNoticed) {
  SampleRepository sample;
  const auto pack = sample.store({sample.encode(Bytes(100))});
  for (const std::uint64_t size : {0ULL, 10ULL, 100ULL, pack.size - 1ULL}) {
    auto damaged = sample.storage;
    damaged.truncate(pack_name(pack.id), size);
    EXPECT_THROW((void)read_pack_directory(damaged, sample.keyring, pack.id),
                 CorruptionError);
  }
  sample.storage.remove(pack_name(pack.id));
  EXPECT_THROW(
      (void)read_pack_directory(sample.storage, sample.keyring, pack.id),
      NotFound);
}

}  // namespace
}  // namespace cairn::repo
