#include "ingest/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

namespace cairn::ingest {
namespace {

TEST(BoundedQueue, GivesItemsInTheOrderTheyCame) {
  BoundedQueue<int> queue(3);
  for (const int item : {1, 2, 3}) ASSERT_TRUE(queue.push(item, {}));

  EXPECT_EQ(queue.pop({}), 1);
  EXPECT_EQ(queue.pop({}), 2);
  EXPECT_EQ(queue.pop({}), 3);
}

TEST(BoundedQueue, IsDrainedAfterItWasClosed) {
  BoundedQueue<int> queue(2);
  ASSERT_TRUE(queue.push(1, {}));

  queue.close();

  EXPECT_FALSE(queue.push(2, {}));
  EXPECT_EQ(queue.pop({}), 1);
  EXPECT_EQ(queue.pop({}), std::nullopt);
}

TEST(BoundedQueue, CarriesWhatCanOnlyBeMoved) {
  BoundedQueue<std::unique_ptr<int>> queue(1);

  ASSERT_TRUE(queue.push(std::make_unique<int>(7), {}));

  const auto item = queue.pop({});
  ASSERT_TRUE(item);
  EXPECT_EQ(**item, 7);
}

TEST(BoundedQueue, NeverHoldsMoreThanItsCapacity) {
  constexpr int kCapacity = 4;
  constexpr int kItems = 2'000;
  BoundedQueue<int> queue(kCapacity);
  std::atomic<int> pushed = 0;

  std::jthread producer([&] {
    for (int i = 0; i < kItems; ++i) {
      EXPECT_TRUE(queue.push(i, {}));
      ++pushed;
    }
    queue.close();
  });

  int popped = 0;
  while (const auto item = queue.pop({})) {
    ++popped;
    // The one that waits to be counted may be beyond the capacity by one.
    EXPECT_LE(pushed - popped, kCapacity + 1);
    EXPECT_EQ(*item, popped - 1);
  }
  EXPECT_EQ(popped, kItems);
}

TEST(BoundedQueue, HandsEachItemToExactlyOneOfManyConsumers) {
  constexpr std::uint64_t kProducers = 3;
  constexpr std::uint64_t kItemsEach = 3'000;
  BoundedQueue<std::uint64_t> queue(2);
  std::atomic<std::uint64_t> sum = 0;
  std::atomic<std::uint64_t> count = 0;
  std::vector<std::jthread> consumers;
  for (int i = 0; i < 3; ++i) {
    consumers.emplace_back([&] {
      while (const auto item = queue.pop({})) {
        sum += *item;
        ++count;
      }
    });
  }

  std::vector<std::jthread> producers;
  for (std::uint64_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (std::uint64_t i = 0; i < kItemsEach; ++i) {
        EXPECT_TRUE(queue.push(p * kItemsEach + i, {}));
      }
    });
  }
  producers.clear();
  queue.close();
  consumers.clear();

  constexpr std::uint64_t kItems = kProducers * kItemsEach;
  EXPECT_EQ(count, kItems);
  EXPECT_EQ(sum, kItems * (kItems - 1) / 2);
}

TEST(BoundedQueue, WakesAWaitingConsumerWhenItStops) {
  BoundedQueue<int> queue(1);
  std::stop_source stop;
  auto popped = std::async(std::launch::async,
                           [&] { return queue.pop(stop.get_token()); });

  stop.request_stop();

  EXPECT_EQ(popped.get(), std::nullopt);
}

TEST(BoundedQueue, WakesAWaitingProducerWhenItStops) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.push(1, {}));
  std::stop_source stop;
  auto pushed = std::async(std::launch::async,
                           [&] { return queue.push(2, stop.get_token()); });

  stop.request_stop();

  EXPECT_FALSE(pushed.get());
}

TEST(BoundedQueue, WakesEveryoneWhenItIsClosed) {
  BoundedQueue<int> queue(1);
  std::vector<std::future<std::optional<int>>> popped;
  for (int i = 0; i < 4; ++i) {
    popped.push_back(
        std::async(std::launch::async, [&] { return queue.pop({}); }));
  }

  queue.close();

  for (auto& item : popped) EXPECT_EQ(item.get(), std::nullopt);
}

TEST(BoundedQueue, GivesNothingToAStageThatIsToStop) {
  BoundedQueue<int> queue(2);
  ASSERT_TRUE(queue.push(1, {}));
  std::stop_source stop;

  stop.request_stop();

  EXPECT_EQ(queue.pop(stop.get_token()), std::nullopt);
  EXPECT_FALSE(queue.push(2, stop.get_token()));
  EXPECT_EQ(queue.pop({}), 1);
}

}  // namespace
}  // namespace cairn::ingest
