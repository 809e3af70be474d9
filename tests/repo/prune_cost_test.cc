// What a prune reads and writes, in bytes. Counts, not times.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "repo/forget.h"
#include "repo/prune.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::FaultyStorage;
using testing_support::FilesOptions;
using testing_support::random_bytes;
using testing_support::TestRepository;
using testing_support::write_snapshot;

struct Traffic {
  std::atomic<std::uint64_t> read = 0;
  std::atomic<std::uint64_t> written = 0;
};

// Counts the bytes that go through.
class Counting : public FaultyStorage {
 public:
  Counting(Storage& inner, Traffic& traffic)
      : FaultyStorage(inner), traffic_(traffic) {}

  Created create(std::string_view name,
                 std::span<const std::byte> bytes) override {
    traffic_.written += bytes.size();
    return FaultyStorage::create(name, bytes);
  }
  std::unique_ptr<StagedObject> stage() override {
    return std::make_unique<Staged>(FaultyStorage::stage(), traffic_);
  }
  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    traffic_.read += out.size();
    FaultyStorage::get(name, offset, out);
  }

 private:
  class Staged : public StagedObject {
   public:
    Staged(std::unique_ptr<StagedObject> inner, Traffic& traffic)
        : inner_(std::move(inner)), traffic_(traffic) {}
    void append(std::span<const std::byte> bytes) override {
      traffic_.written += bytes.size();
      inner_->append(bytes);
    }
    Created publish(std::string_view name) override {
      return inner_->publish(name);
    }

   private:
    std::unique_ptr<StagedObject> inner_;
    Traffic& traffic_;
  };

  Traffic& traffic_;
};

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(PruneCost, OfAGibibyteThatFreesAHundredthIsAtMostThreeHundredths) {
  TestRepository test;
  FilesOptions options;
  options.chunk_bytes = kMiB;
  options.writer.pack_bytes = 64 * kMiB;
  SessionId gone;
  {
    auto repository = test.open();
    std::mt19937_64 random(1);
    for (int i = 0; i < 16; ++i) {
      (void)write_snapshot(repository, {{"a", random_bytes(random, 64 * kMiB)}},
                           at_hour(i), options);
    }
    gone = write_snapshot(repository, {{"b", random_bytes(random, 10 * kMiB)}},
                          at_hour(20), options);
    (void)forget_snapshot(repository, gone, "test", at_hour(30));
  }
  std::uint64_t stored = 0;
  test.disk().list("packs",
                   [&](const ListedObject& object) { stored += object.size; });
  ASSERT_GT(stored, 1024 * kMiB);
  Traffic traffic;
  auto repository =
      test.open_through(std::make_unique<Counting>(test.disk(), traffic));
  traffic.read = 0;

  const auto outcome = prune(repository, {}, at_hour(100), {}, {}, nullptr);

  EXPECT_GE(outcome.removed.bytes, 10 * kMiB);
  EXPECT_LE(traffic.read + traffic.written, stored * 3 / 100);
}

}  // namespace
}  // namespace cairn::repo
