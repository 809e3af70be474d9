// A processor or a memory that makes mistakes: what a backup does not get back
// as it was, it does not store (FORMAT.md, I7).
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "repo/error.h"
#include "repo/pack_reader.h"
#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

enum class Step {
  compress,        // the frame is another one; most patches have none
  seal,            // the sealed bytes are not those that the tag is of
  seal_the_wrong,  // well sealed, but not what was to be sealed
};

// One bit turned over the `nth` time that a blob goes through `step`.
struct Mistake {
  Step step = Step::compress;
  std::size_t nth = 0;  // 0: none, only counted
  std::atomic<std::size_t> times = 0;

  [[nodiscard]] bool happens(Step in) { return in == step && ++times == nth; }
};

Mistake& mistake() {
  static Mistake only;
  return only;
}

void turn_a_bit(void* bytes, std::size_t size) {
  static_cast<unsigned char*>(bytes)[size / 2] ^= 0x10;
}

// By what it is bound to (FORMAT.md, 6.6). Opening asks for no mistake.
bool seals_a_blob(std::string_view associated_data) {
  return associated_data.substr(0, 16).find("cairn blob") !=
         std::string_view::npos;
}

}  // namespace
}  // namespace cairn::ingest

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {
size_t __real_ZSTD_compress2(ZSTD_CCtx* context, void* out, size_t room,
                             const void* in, size_t size);
size_t __wrap_ZSTD_compress2(ZSTD_CCtx* context, void* out, size_t room,
                             const void* in, size_t size);
int __real_EVP_CipherUpdate(EVP_CIPHER_CTX* context, unsigned char* out,
                            int* out_size, const unsigned char* in, int size);
int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX* context, unsigned char* out,
                            int* out_size, const unsigned char* in, int size);

size_t __wrap_ZSTD_compress2(ZSTD_CCtx* context, void* out, size_t room,
                             const void* in, size_t size) {
  using namespace cairn::ingest;
  const size_t done = __real_ZSTD_compress2(context, out, room, in, size);
  if (!ZSTD_isError(done) && mistake().happens(Step::compress)) {
    turn_a_bit(out, done);
  }
  return done;
}

int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX* context, unsigned char* out,
                            int* out_size, const unsigned char* in, int size) {
  using namespace cairn::ingest;
  thread_local bool is_blob = false;
  const auto length = static_cast<std::size_t>(size);
  if (out == nullptr) {  // comes before the bytes
    is_blob = EVP_CIPHER_CTX_is_encrypting(context) == 1 &&
              seals_a_blob({reinterpret_cast<const char*>(in), length});
    return __real_EVP_CipherUpdate(context, out, out_size, in, size);
  }
  std::string wrong;
  if (is_blob && mistake().happens(Step::seal_the_wrong)) {
    wrong.assign(reinterpret_cast<const char*>(in), length);
    turn_a_bit(wrong.data(), length);
    in = reinterpret_cast<const unsigned char*>(wrong.data());
  }
  const int answer = __real_EVP_CipherUpdate(context, out, out_size, in, size);
  if (is_blob && mistake().happens(Step::seal)) turn_a_bit(out, length);
  return answer;
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::ingest {
namespace {

using namespace testing_support;

constexpr std::string_view kStream = "db/dump";

// Chunks of all codecs: some compress and some do not, and of the second state
// many are differences.
struct TwoStates {
  TwoStates() {
    std::mt19937_64 random(7);
    std::string text;
    while (text.size() < 60'000) text += std::to_string(random() % 100'000);
    stream = bytes_of(text);
    const Bytes noise = random_bytes(random, 40'000);
    stream.insert(stream.end(), noise.begin(), noise.end());
    {
      auto repository = site.open();
      (void)back_up(repository);
    }
    first = stream;
    ++time.seconds;

    for (std::size_t at = 500; at < stream.size(); at += 9000) {
      stream[at] ^= std::byte{1};
    }
    for (int i = 0; i < 5000; ++i) text += std::to_string(random() % 100'000);
    const Bytes fresh = bytes_of(text.substr(60'000));
    stream.insert(stream.end(), fresh.begin(), fresh.end());
    const Bytes more = random_bytes(random, 30'000);
    stream.insert(stream.end(), more.begin(), more.end());
    site.keep();
  }

  BackupReport back_up(repo::Repository& repository) const {
    auto options = backup_options();
    options.now = now;
    options.time = time;
    options.pack_bytes = 16U << 10;  // some are published before others fail
    return run_backup(
        repository, sources(source_of(std::string(kStream), stream)), options);
  }

  // What it says when it fails; nothing when it does not.
  std::string failure_of_backup() {
    auto repository = site.open();
    try {
      EXPECT_TRUE(back_up(repository).is_complete);
      return "";
    } catch (const repo::CorruptionError& e) {
      return e.what();
    }
  }

  // How often blobs go through a step in a backup of the second state.
  std::size_t times(Step step) {
    mistake().step = step;
    mistake().nth = 0;
    mistake().times = 0;
    site.go_back();
    EXPECT_EQ(failure_of_backup(), "");
    return mistake().times;
  }

  void expect_sound_with(const std::vector<Bytes>& states) {
    EXPECT_EQ(damage_in(site), std::vector<std::string>{});
    EXPECT_EQ(sessions_in(site), 0u);
    const auto stored = read_all_snapshots(site);
    ASSERT_EQ(stored.size(), states.size());
    for (std::size_t i = 0; i < states.size(); ++i) {
      EXPECT_TRUE(stored[i].tree.at(std::string(kStream)).content == states[i]);
    }
  }

  // The first digits of every id in a pack that is there, indexed or not.
  std::set<std::string> stored_blobs() {
    auto repository = site.open();
    std::set<std::string> blobs;
    for (const auto& pack : packs_in(site.disk())) {
      const auto directory = repo::read_pack_directory(
          repository.storage(), repository.keyring(), pack);
      for (const auto& row : directory.pack.directory.rows) {
        blobs.insert(row.id.brief());
      }
    }
    return blobs;
  }

  BackupSite site;
  const repo::Timestamp now = file_clock_now();  // in nodes: always the same
  repo::Timestamp time = {now.seconds - 100, 0};
  Bytes first;
  Bytes stream;
};

// "blob 3f9a12c4: does not read back ..."
std::string blob_in(const std::string& failure) {
  const auto begin = failure.find(' ') + 1;
  return failure.substr(begin, failure.find(':') - begin);
}

TEST(Backup, RefusesToPublishABlobThatDoesNotReadBack) {
  TwoStates state;
  for (const auto step : {Step::compress, Step::seal, Step::seal_the_wrong}) {
    const std::size_t times = state.times(step);
    ASSERT_GT(times, 5u);
    std::size_t refused = 0;
    const std::set<std::size_t> tried = {1, 2, times / 2, times - 1, times};
    for (const std::size_t nth : tried) {
      SCOPED_TRACE("step " + std::to_string(static_cast<int>(step)) +
                   ", mistake " + std::to_string(nth) + " of " +
                   std::to_string(times));
      state.site.go_back();
      mistake().times = 0;
      mistake().nth = nth;

      const std::string failure = state.failure_of_backup();
      mistake().nth = 0;

      if (failure.empty()) {
        // Compressed, but something smaller was stored.
        EXPECT_EQ(step, Step::compress);
        state.expect_sound_with({state.first, state.stream});
        continue;
      }
      ++refused;
      EXPECT_NE(failure.find("does not read back"), std::string::npos)
          << failure;
      EXPECT_FALSE(state.stored_blobs().contains(blob_in(failure)));
      state.expect_sound_with({state.first});

      EXPECT_EQ(state.failure_of_backup(), "");
      EXPECT_TRUE(state.stored_blobs().contains(blob_in(failure)));
      EXPECT_TRUE(read_newest(state.site).at(std::string(kStream)).content ==
                  state.stream);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(refused, 0u);
  }
}

}  // namespace
}  // namespace cairn::ingest
