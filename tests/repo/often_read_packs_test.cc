#include "repo/often_read_packs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::random_bytes;
using testing_support::SampleRepository;
using testing_support::TempFolder;

class OftenReadPacksTest : public ::testing::Test {
 protected:
  OftenReadPacksTest() {
    std::vector<EncodedBlob> blobs;
    for (int i = 0; i < 3; ++i) {
      blobs.push_back(sample.encode(random_bytes(random, 100)));
    }
    pack = sample.store(blobs);
    index.add(pack);
    for (const auto& blob : blobs) ids.push_back(blob.row.id);
  }

  void note(int times) {
    const BlobCopy copy = index.find(ids[0]).front();
    for (int i = 0; i < times; ++i) {
      often_read.note(sample.storage, sample.keyring, index, copy);
    }
  }

  bool knows(const BlobId& id) const {
    return often_read.copy_of(BlobKind::content, id).has_value();
  }

  std::mt19937_64 random{1};
  TempFolder folder;
  SampleRepository sample;
  IndexStore store{folder.path()};
  BlobIndex index{store, sample.keyring};
  IndexedPack pack;
  std::vector<BlobId> ids;
  OftenReadPacks often_read;
};

TEST_F(OftenReadPacksTest, KnowAllOfAPackThatIsNamedOften) {
  note(2);
  EXPECT_FALSE(knows(ids[0]));
  note(1000);
  for (const auto& id : ids) {
    EXPECT_EQ(often_read.copy_of(BlobKind::content, id)->row,
              index.find(id).front().row);
  }
}

TEST_F(OftenReadPacksTest, LeaveToTheIndexWhatCannotBeRead) {
  const auto size = *sample.storage.size(pack_name(pack.id));
  for (std::uint64_t at = kPackHeadBytes; at < size; at += 8) {
    sample.storage.flip_bit(pack_name(pack.id), at, 1);
  }
  note(1000);
  EXPECT_FALSE(knows(ids[0]));
}

TEST_F(OftenReadPacksTest, ServeManyThreads) {
  std::atomic<int> found = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        note(1);
        if (knows(ids[1])) ++found;
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(knows(ids[1]));
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace cairn::repo
