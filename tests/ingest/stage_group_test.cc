#include "ingest/stage_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <stop_token>
#include <string>

#include "ingest/bounded_queue.h"

namespace cairn::ingest {
namespace {

// Waits until it is told to stop, as a stage does whose queue stays empty.
void wait_for(const std::stop_token& stop) {
  BoundedQueue<int> nothing(1);
  (void)nothing.pop(stop);
}

std::string failure_of(StageGroup& stages) {
  try {
    stages.join();
    return "none";
  } catch (const std::runtime_error& e) {
    return e.what();
  }
}

TEST(StageGroup, WaitsUntilEveryStageHasReturned) {
  std::atomic<int> returned = 0;
  StageGroup stages;
  for (int i = 0; i < 4; ++i) {
    stages.start([&](const std::stop_token&) { ++returned; });
  }

  stages.join();

  EXPECT_EQ(returned, 4);
}

TEST(StageGroup, StopsTheOtherStagesWhenOneThrows) {
  StageGroup stages;
  stages.start([](const std::stop_token& stop) { wait_for(stop); });
  stages.start([](const std::stop_token&) {
    throw std::runtime_error("the disk is full");
  });

  EXPECT_EQ(failure_of(stages), "the disk is full");
  EXPECT_TRUE(stages.token().stop_requested());
}

TEST(StageGroup, TellsTheFirstFailureOnly) {
  StageGroup stages;
  stages.start([](const std::stop_token& stop) {
    wait_for(stop);
    throw std::runtime_error("second");
  });
  stages.start(
      [](const std::stop_token&) { throw std::runtime_error("first"); });

  EXPECT_EQ(failure_of(stages), "first");
}

TEST(StageGroup, StopsWhenWhoStartedItIsStopped) {
  std::stop_source outer;
  StageGroup stages(outer.get_token());
  stages.start([](const std::stop_token& stop) { wait_for(stop); });

  outer.request_stop();

  EXPECT_EQ(failure_of(stages), "none");
}

TEST(StageGroup, StopsItsStagesWhenItIsLeftByAnException) {
  bool was_stopped = false;
  try {
    StageGroup stages;
    stages.start([&](const std::stop_token& stop) {
      wait_for(stop);
      was_stopped = true;
    });
    throw std::runtime_error("elsewhere");
  } catch (const std::runtime_error&) {
  }

  EXPECT_TRUE(was_stopped);
}

}  // namespace
}  // namespace cairn::ingest
