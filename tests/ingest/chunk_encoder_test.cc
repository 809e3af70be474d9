#include "ingest/chunk_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>
#include <variant>

#include "crypto/recognition_mac.h"
#include "ingest/known_stream.h"
#include "repo/error.h"
#include "repo/memory_sum.h"
#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

// A worker, and a batch with one chunk, of a repository that has nothing yet.
class ChunkEncoders : public ::testing::Test {
 protected:
  ChunkEncoders() {
    std::mt19937_64 random(1);
    batch_.buffer.resize(kSmallNormal);
    std::ranges::copy(random_bytes(random, kSmallNormal),
                      batch_.buffer.begin());
    chunk().plain = batch_.buffer;
  }

  Chunk& chunk() { return std::get<Chunk>(batch_.events.front()); }

  // As the feeder does, of bytes it has seen before; the repository has lost
  // them since.
  void recognise() {
    chunk().id = repository_.keyring().ids_of(repo::BlobKind::content,
                                              std::vector{chunk().plain})[0];
    chunk().mac = crypto::Recogniser(known_stream_key(repository_.keyring()))
                      .mac_of(chunk().id.bytes, chunk().plain);
    chunk().stream = std::make_shared<std::filesystem::path>("stream");
  }

  void flip_a_bit() { *batch_.buffer.begin() ^= std::byte{4}; }

  void encode() { encoder_.encode(batch_); }

 private:
  BackupSite site_;
  repo::Repository repository_ = site_.open();
  repo::ReusableBlobs reusable_{repository_.storage(), repository_.keyring(),
                                repository_.index(), repo::Epoch{}};
  repo::SessionKeys keys_{repository_.keyring()};
  FeatureTable table_{repository_.index_store(),
                      repo::series_tag(repository_.keyring(), kSeries)};
  ClaimedBlobs claimed_;
  ChunkCounts counts_;
  repo::Progress progress_;
  ChunkEncoder encoder_{repository_, reusable_, keys_,   {},
                        table_,      claimed_,  counts_, progress_};
  Batch batch_{.buffer = {}, .events = {Chunk{}}};
};

TEST_F(ChunkEncoders, StoreWhatWasSummedAndIsThatStill) {
  chunk().sum = repo::memory_sum(chunk().plain);
  encode();
  EXPECT_TRUE(chunk().encoded);
}

TEST_F(ChunkEncoders, RefuseWhatChangedSinceItWasSummed) {
  chunk().sum = repo::memory_sum(chunk().plain);
  flip_a_bit();
  EXPECT_THROW(encode(), repo::CorruptionError);
}

// Such a chunk has no sum: mostly nobody looks at its bytes again.
TEST_F(ChunkEncoders, StoreWhatWasRecognisedAndIsThatStill) {
  recognise();
  encode();
  EXPECT_TRUE(chunk().encoded);
}

TEST_F(ChunkEncoders, RefuseWhatChangedSinceItWasRecognised) {
  recognise();
  flip_a_bit();
  EXPECT_THROW(encode(), repo::CorruptionError);
}

}  // namespace
}  // namespace cairn::ingest
