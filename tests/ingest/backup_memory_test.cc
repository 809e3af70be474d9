// However slow the storage is, what is read of a source and not stored yet is
// bounded (ingest/backup.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <string_view>
#include <utility>

#include "tests/support/backup_site.h"
#include "tests/support/observed_storage.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

// A batch goes on its way with 1 MiB, and what was read ahead of that.
constexpr std::size_t kBatchBytes = (std::size_t{1} << 20) + (256U << 10);
constexpr std::size_t kPacks = 3;  // published, waiting, being filled

std::size_t most_on_the_way(const BackupOptions& options) {
  const std::size_t batches = 2 * std::size_t{options.workers} + 4;
  return batches * kBatchBytes +
         kPacks * (static_cast<std::size_t>(options.pack_bytes) + kSmallMax);
}

// How much was read so far, for those who wait for more.
class Meter {
 public:
  void add(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      bytes_ += bytes;
    }
    changed_.notify_all();
  }

  // Waits until nothing more is read, or more than `enough`. Answers how much.
  std::size_t settle(std::size_t enough) {
    constexpr std::chrono::milliseconds kLong{500};
    std::unique_lock lock(mutex_);
    for (std::size_t seen = bytes_; seen <= enough; seen = bytes_) {
      if (!changed_.wait_for(lock, kLong, [&] { return bytes_ != seen; })) {
        break;
      }
    }
    return bytes_;
  }

 private:
  std::mutex mutex_;  // guards bytes_
  std::condition_variable changed_;
  std::size_t bytes_ = 0;
};

// Bytes that nothing makes smaller.
class Noise : public ByteStream {
 public:
  Noise(std::size_t size, Meter& meter) : left_(size), meter_(meter) {}

  std::size_t read(std::span<std::byte> out, std::stop_token) override {
    const std::size_t size = std::min(out.size(), left_);
    for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
      const std::uint64_t some = random_();
      std::memcpy(&out[at], &some, std::min(sizeof some, size - at));
    }
    left_ -= size;
    meter_.add(size);
    return size;
  }
  void finish(std::stop_token) override {}

 private:
  std::size_t left_;
  Meter& meter_;
  std::mt19937_64 random_{1};
};

TEST(Backup, ReadsNoMoreThanItsBuffersHoldWhileTheStorageWaits) {
  for (const unsigned workers : {1U, 2U, 4U}) {
    SCOPED_TRACE(std::to_string(workers) + " workers");
    auto options = backup_options();
    options.workers = workers;
    const std::size_t most = most_on_the_way(options);
    const std::size_t size = 2 * most;
    BackupSite site;
    ObservedStorage storage(site.disk());
    Meter meter;
    std::size_t read = 0;
    storage.before_write = [&](std::string_view name) {
      if (read == 0 && name.starts_with("packs/")) read = meter.settle(most);
    };
    auto repository = site.open_through(storage);

    const auto report = run_backup(
        repository,
        sources(source_of("noise", std::make_unique<Noise>(size, meter))),
        options);

    EXPECT_LE(read, most);
    EXPECT_GE(read, kPacks * options.pack_bytes);
    EXPECT_TRUE(report.is_complete);
    EXPECT_EQ(report.bytes_read, size);
  }
}

}  // namespace
}  // namespace cairn::ingest
