#include "ingest/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/for_each_seed.h"

namespace cairn::ingest {
namespace {

using testing_support::for_each_seed;

constexpr std::size_t kBufferBytes = 1000;

// A token of one who has been asked to stop.
std::stop_token stopped() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

class BatchLines : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_FALSE(late_.stop_requested()) << "somebody waited in vain";
  }

  // Whoever waits with this waits long, but not for ever: a line that forgets
  // somebody fails the test and does not hang it.
  [[nodiscard]] std::stop_token in_time() const { return late_.get_token(); }

  // Batches are told apart by how much of their buffer is used.
  std::shared_ptr<Batch> feed(BatchLine& line, std::size_t number) {
    auto batch = line.acquire(in_time());
    batch->used = number;
    batch->events.emplace_back(FolderEnds{});
    line.feed(batch);
    return batch;
  }

  void encode_one(BatchLine& line) {
    line.encoded(line.take_to_encode(in_time()));
  }

 private:
  void watch(std::stop_token over) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait_for(lock, over, std::chrono::seconds(10), [] { return false; });
    if (!over.stop_requested()) late_.request_stop();
  }

  std::stop_source late_;
  std::jthread watch_{[this](std::stop_token over) { watch(std::move(over)); }};
};

TEST_F(BatchLines, GivesOutAsManyBatchesAsItHas) {
  BatchLine line(3, kBufferBytes);

  std::set<std::shared_ptr<Batch>> batches;
  for (int i = 0; i < 3; ++i) batches.insert(line.acquire(in_time()));

  EXPECT_EQ(batches.size(), 3u);
  for (const auto& batch : batches) {
    EXPECT_EQ(batch->buffer.size(), kBufferBytes);
    EXPECT_EQ(batch->used, 0u);
    EXPECT_TRUE(batch->events.empty());
  }
  EXPECT_EQ(line.acquire(stopped()), nullptr);
}

TEST_F(BatchLines, WaitsForABatchThatIsReleased) {
  BatchLine line(1, kBufferBytes);
  const auto batch = feed(line, 7);
  encode_one(line);
  std::shared_ptr<Batch> again;
  std::jthread feeder([&] { again = line.acquire(in_time()); });

  line.release(line.take_to_assemble(in_time()));
  feeder.join();

  EXPECT_EQ(again, batch);
  EXPECT_EQ(again->used, 0u);
  EXPECT_TRUE(again->events.empty());
  EXPECT_EQ(again->buffer.size(), kBufferBytes);
}

TEST_F(BatchLines, GivesEachBatchToOneWorkerInTheOrderOfFeeding) {
  BatchLine line(3, kBufferBytes);
  for (std::size_t i = 1; i <= 3; ++i) feed(line, i);

  for (std::size_t i = 1; i <= 3; ++i) {
    const auto batch = line.take_to_encode(in_time());
    ASSERT_NE(batch, nullptr);
    EXPECT_EQ(batch->used, i);
  }
  EXPECT_EQ(line.take_to_encode(stopped()), nullptr);
}

TEST_F(BatchLines, HoldsBackWhatIsEncodedBeforeItsTurn) {
  BatchLine line(2, kBufferBytes);
  feed(line, 1);
  feed(line, 2);
  const auto first = line.take_to_encode(in_time());
  const auto second = line.take_to_encode(in_time());

  line.encoded(second);
  EXPECT_EQ(line.take_to_assemble(stopped()), nullptr);
  line.encoded(first);

  EXPECT_EQ(line.take_to_assemble(in_time()), first);
  EXPECT_EQ(line.take_to_assemble(in_time()), second);
}

TEST_F(BatchLines, ABatchThatIsUsedAgainIsToBeEncodedAgain) {
  BatchLine line(1, kBufferBytes);
  feed(line, 1);
  encode_one(line);
  line.release(line.take_to_assemble(in_time()));

  feed(line, 2);

  EXPECT_EQ(line.take_to_assemble(stopped()), nullptr);
  encode_one(line);
  EXPECT_EQ(line.take_to_assemble(in_time())->used, 2u);
}

TEST_F(BatchLines, KeepsTheOrderHoweverManyWork) {
  for_each_seed(20, [&](auto& random) {
    const std::size_t batches = 1 + random() % 6;
    const std::size_t workers = 1 + random() % 5;
    constexpr std::size_t kCount = 300;
    BatchLine line(batches, kBufferBytes);
    std::vector<std::size_t> assembled;
    std::atomic<std::size_t> out = 0;
    std::atomic<std::size_t> most_out = 0;

    std::vector<std::jthread> threads;
    threads.emplace_back([&] {
      for (std::size_t i = 1; i <= kCount; ++i) {
        auto batch = line.acquire(in_time());
        if (!batch) break;
        most_out = std::max<std::size_t>(most_out, ++out);
        batch->used = i;
        line.feed(std::move(batch));
      }
      line.close();
    });
    for (std::size_t worker = 0; worker < workers; ++worker) {
      threads.emplace_back([&, pause = random() % 4] {
        while (const auto batch = line.take_to_encode(in_time())) {
          for (std::size_t i = 0; i < pause; ++i) std::this_thread::yield();
          line.encoded(batch);
        }
      });
    }
    while (auto batch = line.take_to_assemble(in_time())) {
      assembled.push_back(batch->used);
      --out;
      line.release(std::move(batch));
    }
    threads.clear();

    ASSERT_EQ(assembled.size(), kCount);
    EXPECT_TRUE(std::ranges::is_sorted(assembled));
    EXPECT_LE(most_out, batches);
  });
}

TEST_F(BatchLines, ClosedGivesOutWhatIsLeftAndThenNothing) {
  BatchLine line(2, kBufferBytes);
  feed(line, 1);
  feed(line, 2);

  line.close();

  encode_one(line);
  encode_one(line);
  EXPECT_EQ(line.take_to_encode(in_time()), nullptr);
  EXPECT_EQ(line.take_to_assemble(in_time())->used, 1u);
  EXPECT_EQ(line.take_to_assemble(in_time())->used, 2u);
  EXPECT_EQ(line.take_to_assemble(in_time()), nullptr);
}

TEST_F(BatchLines, ClosedWaitsForWhatIsBeingEncoded) {
  BatchLine line(1, kBufferBytes);
  feed(line, 1);
  const auto batch = line.take_to_encode(in_time());
  line.close();
  EXPECT_EQ(line.take_to_assemble(stopped()), nullptr);
  std::shared_ptr<Batch> taken;
  std::jthread assembler([&] { taken = line.take_to_assemble(in_time()); });

  line.encoded(batch);
  assembler.join();

  EXPECT_EQ(taken, batch);
}

TEST_F(BatchLines, ClosingWakesEverybodyWhoWaitsForMore) {
  constexpr int kRounds = 50;  // in some of them, all are waiting by then
  for (int round = 0; round < kRounds; ++round) {
    BatchLine line(1, kBufferBytes);
    std::vector<std::jthread> threads;
    std::atomic<int> got_nothing = 0;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back(
          [&] { got_nothing += line.take_to_encode(in_time()) == nullptr; });
    }
    threads.emplace_back(
        [&] { got_nothing += line.take_to_assemble(in_time()) == nullptr; });
    for (int i = 0; i < round; ++i) std::this_thread::yield();

    line.close();
    threads.clear();

    ASSERT_EQ(got_nothing, 4);
  }
}

TEST_F(BatchLines, AStopWakesEverybodyWhoWaits) {
  BatchLine line(1, kBufferBytes);
  const auto batch = line.acquire(in_time());
  std::stop_source stop;
  std::vector<std::jthread> threads;
  std::atomic<int> got_nothing = 0;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back(
        [&] { got_nothing += line.acquire(stop.get_token()) == nullptr; });
    threads.emplace_back([&] {
      got_nothing += line.take_to_encode(stop.get_token()) == nullptr;
    });
    threads.emplace_back([&] {
      got_nothing += line.take_to_assemble(stop.get_token()) == nullptr;
    });
  }

  stop.request_stop();
  threads.clear();

  EXPECT_EQ(got_nothing, 6);
}

TEST_F(BatchLines, AStopReachesWhoWaitsForABatchThatIsBeingEncoded) {
  BatchLine line(1, kBufferBytes);
  feed(line, 1);
  const auto batch = line.take_to_encode(in_time());
  std::stop_source stop;
  std::shared_ptr<Batch> taken = batch;
  std::jthread assembler(
      [&] { taken = line.take_to_assemble(stop.get_token()); });

  stop.request_stop();
  assembler.join();

  EXPECT_EQ(taken, nullptr);
}

}  // namespace
}  // namespace cairn::ingest
