#include "ingest/known_stream.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "chunker/chunker.h"
#include "crypto/digest.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace {

std::size_t macs_computed = 0;

}  // namespace

// The last step of each MAC, counted (-Wl,--wrap).
extern "C" {
struct evp_cipher_ctx_st;
int __real_EVP_EncryptFinal_ex(evp_cipher_ctx_st*, unsigned char*, int*);
int __wrap_EVP_EncryptFinal_ex(evp_cipher_ctx_st* context, unsigned char* out,
                               int* size) {
  ++macs_computed;
  return __real_EVP_EncryptFinal_ex(context, out, size);
}
}

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::random_bytes;
using testing_support::TempFolder;

constexpr chunker::ChunkSizes kSizes{.min = 256, .normal = 1024, .max = 4096};

// Cuts and names as a backup does, with and without what is known.
class Stream {
 public:
  explicit Stream(fs::path file) : file_(std::move(file)) {}

  struct Passage {
    std::vector<KnownChunk> chunks;
    std::size_t recognised = 0;
  };

  [[nodiscard]] KnownStream before() const { return {file_, key_}; }

  // Lets `bytes` go by; what is recognised is believed.
  Passage pass(const Bytes& bytes) {
    Passage passage;
    KnownStream known(file_, key_);
    crypto::Recogniser recogniser(key_);
    for (auto rest = std::span<const std::byte>(bytes); !rest.empty();) {
      auto chunk = known.recognise(rest);
      if (chunk) {
        ++passage.recognised;
      } else {
        chunk.emplace();
        chunk->length = static_cast<std::uint32_t>(cutter_.first_cut(rest));
        const auto plain = rest.first(chunk->length);
        chunk->id.bytes = crypto::sha256(plain);
        chunk->head = head_of(plain);
        chunk->mac = recogniser.mac_of(chunk->id.bytes, plain);
      }
      passage.chunks.push_back(*chunk);
      rest = rest.subspan(chunk->length);
    }
    return passage;
  }

  void keep(const Passage& passage) {
    KnownStreamWriter writer(file_);
    for (const auto& chunk : passage.chunks) writer.add(chunk);
    std::move(writer).finish();
  }

  // What a machine that knows nothing finds.
  [[nodiscard]] std::vector<KnownChunk> afresh(const Bytes& bytes) const {
    Stream stream(file_.parent_path() / "none");
    stream.key_ = key_.clone();
    return stream.pass(bytes).chunks;
  }

  void change_key() { key_ = crypto::Secret::random(); }

 private:
  fs::path file_;
  crypto::Secret key_ = crypto::Secret::random();
  chunker::ContentDefinedCutter cutter_{chunker::CutterKey{}, kSizes};
};

class KnownStreamTest : public ::testing::Test {
 protected:
  TempFolder folder_;
  fs::path file_ = folder_.path() / "streams" / "one";
  Stream stream_{file_};
};

TEST_F(KnownStreamTest, WhatHasNotChangedIsRecognisedUpToTheLastChunk) {
  std::mt19937_64 random(1);
  // More than fits the window, so that the file is read in several goes.
  const Bytes bytes = random_bytes(random, 6'000'000);
  stream_.keep(stream_.pass(bytes));

  const auto again = stream_.pass(bytes);

  EXPECT_GT(again.chunks.size(), 4'000U);
  EXPECT_EQ(again.recognised, again.chunks.size() - 1);
  EXPECT_TRUE(again.chunks == stream_.afresh(bytes));
}

TEST_F(KnownStreamTest, WhateverChangesTheChunksAreThoseOfAFreshStart) {
  for_each_seed(30, [&](auto& random) {
    Bytes bytes = random_bytes(random, 200'000 + random() % 500'000);
    for (int state = 0; state < 4; ++state) {
      const auto passage = stream_.pass(bytes);
      ASSERT_TRUE(passage.chunks == stream_.afresh(bytes));
      stream_.keep(passage);
      const auto at = [&] {
        return bytes.begin() +
               static_cast<std::ptrdiff_t>(random() % bytes.size());
      };
      for (auto edits = random() % 20; edits > 0; --edits) {
        *at() ^= std::byte{1};
      }
      const Bytes inserted = random_bytes(random, random() % 100'000);
      bytes.insert(at(), inserted.begin(), inserted.end());
      auto from = at();
      bytes.erase(from,
                  from + std::min<std::ptrdiff_t>(
                             bytes.end() - from,
                             static_cast<std::ptrdiff_t>(random() % 100'000)));
      if (bytes.empty()) bytes.resize(1);
    }
  });
}

TEST_F(KnownStreamTest, AfterAnInsertionOrADeletionTheRestIsRecognised) {
  std::mt19937_64 random(1);
  const Bytes bytes = random_bytes(random, 1'000'000);
  stream_.keep(stream_.pass(bytes));
  Bytes longer = bytes;
  const Bytes inserted = random_bytes(random, 300'000);
  longer.insert(longer.begin() + 500'000, inserted.begin(), inserted.end());
  Bytes shorter = bytes;
  shorter.erase(shorter.begin() + 300'000, shorter.begin() + 600'000);

  const auto before = stream_.afresh(bytes);
  for (const Bytes& changed : {longer, shorter}) {
    const auto passage = stream_.pass(changed);
    std::size_t unchanged = 0;
    for (const auto& chunk : passage.chunks) {
      if (std::ranges::find(before, chunk) != before.end()) ++unchanged;
    }
    EXPECT_GE(passage.recognised + 10, unchanged);
  }
}

// Rows of a table that begin alike make chunks that do.
TEST_F(KnownStreamTest, ChunksThatBeginAlikeAreNotAllTried) {
  std::mt19937_64 random(1);
  const Bytes same = random_bytes(random, 64);
  Stream::Passage before;
  Bytes changed;
  for (std::size_t i = 0; i < 2000; ++i) {
    KnownChunk chunk;
    chunk.length = 4096;
    chunk.head = head_of(same);
    before.chunks.push_back(chunk);
    changed.insert(changed.end(), same.begin(), same.end());
    const Bytes rest = random_bytes(random, 4096 - 64);
    changed.insert(changed.end(), rest.begin(), rest.end());
  }
  stream_.keep(before);
  const crypto::Secret key = crypto::Secret::random();
  KnownStream known(file_, key);
  constexpr std::size_t kChunks = 500;
  macs_computed = 0;

  for (std::size_t i = 0; i < kChunks; ++i) {
    EXPECT_FALSE(
        known.recognise(std::span<const std::byte>(changed).subspan(i * 4096)));
  }

  EXPECT_LE(macs_computed, 2 * kChunks);
}

TEST_F(KnownStreamTest, ADamagedFileRecognisesNothingWrongly) {
  for_each_seed(60, [&](auto& random) {
    const Bytes bytes = random_bytes(random, 100'000);
    stream_.keep(stream_.pass(bytes));
    {
      std::fstream file(file_, std::ios::in | std::ios::out);
      const auto size = fs::file_size(file_);
      for (int i = 0; i < 30; ++i) {
        file.seekp(static_cast<std::streamoff>(random() % size));
        file.put(static_cast<char>(random()));
      }
    }
    if (random() % 2 == 0) {
      fs::resize_file(file_, random() % fs::file_size(file_));
    }

    EXPECT_TRUE(stream_.pass(bytes).chunks == stream_.afresh(bytes));
  });
}

TEST_F(KnownStreamTest, UnderAnotherKeyNothingIsRecognised) {
  std::mt19937_64 random(1);
  const Bytes bytes = random_bytes(random, 100'000);
  stream_.keep(stream_.pass(bytes));
  stream_.change_key();

  EXPECT_EQ(stream_.pass(bytes).recognised, 0U);
}

TEST_F(KnownStreamTest, AWriterThatIsAbandonedLeavesTheOldFile) {
  std::mt19937_64 random(1);
  const Bytes bytes = random_bytes(random, 100'000);
  const auto passage = stream_.pass(bytes);
  stream_.keep(passage);
  {
    KnownStreamWriter writer(file_);
    writer.add(passage.chunks.front());
  }

  EXPECT_EQ(stream_.pass(bytes).recognised, passage.chunks.size() - 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(file_.parent_path()),
                          fs::directory_iterator()),
            1);
}

TEST_F(KnownStreamTest, AFolderThatCannotBeWrittenHarmsNothing) {
  std::mt19937_64 random(1);
  const Bytes bytes = random_bytes(random, 100'000);
  Stream nowhere("/proc/nothing/here");

  nowhere.keep(nowhere.pass(bytes));

  EXPECT_EQ(nowhere.pass(bytes).recognised, 0U);
}

TEST_F(KnownStreamTest, WhatAKilledProcessLeftIsSweptAfterADay) {
  std::mt19937_64 random(1);
  fs::create_directories(file_.parent_path());
  const auto left = file_.parent_path() / "0123.89ab";
  const auto being_written = file_.parent_path() / "0123.cdef";
  for (const auto& path : {left, being_written}) std::ofstream(path) << "x";
  fs::last_write_time(
      left, fs::file_time_type::clock::now() - std::chrono::hours(25));

  stream_.keep(stream_.pass(random_bytes(random, 10'000)));

  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(being_written));
}

TEST_F(KnownStreamTest, ThoseOfMonthsAgoAreSweptWhereThereAreMany) {
  std::mt19937_64 random(1);
  const auto passage = stream_.pass(random_bytes(random, 10'000));
  const auto path_of = [&](int i) {
    return file_.parent_path() / std::to_string(i);
  };
  for (int i = 0; i < 300; ++i) Stream(path_of(i)).keep(passage);
  const auto count = [&] {
    return std::distance(fs::directory_iterator(file_.parent_path()),
                         fs::directory_iterator());
  };
  EXPECT_EQ(count(), 300);  // they come in turns
  for (int i = 0; i < 100; ++i) {
    fs::last_write_time(path_of(i), fs::file_time_type::clock::now() -
                                        std::chrono::hours(24 * 40));
  }

  Stream(path_of(299)).keep(passage);

  EXPECT_EQ(count(), 256);
}

TEST_F(KnownStreamTest, WhatABorderCutIsRecognisedAtABorderAlone) {
  std::mt19937_64 random(1);
  const Bytes bytes = random_bytes(random, 3'000);
  auto passage = stream_.pass(Bytes(bytes.begin(), bytes.begin() + 300));
  ASSERT_EQ(passage.chunks.size(), 1U);
  passage.chunks.front().cut_by = CutBy::border;
  passage.chunks.push_back(passage.chunks.front());  // the last is left out
  stream_.keep(passage);

  const std::span<const std::byte> all = bytes;
  const auto recognised = [&](std::size_t size, KnownStream::End end) {
    return stream_.before().recognise(all.first(size), end).has_value();
  };
  EXPECT_TRUE(recognised(300, KnownStream::End::border));
  EXPECT_FALSE(recognised(300, KnownStream::End::open));
  EXPECT_FALSE(recognised(301, KnownStream::End::border));
  EXPECT_FALSE(recognised(3'000, KnownStream::End::open));
}

}  // namespace
}  // namespace cairn::ingest
