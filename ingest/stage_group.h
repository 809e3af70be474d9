// The threads of one operation, and the one way in which they stop.
#pragma once

#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::ingest {

// The first stage that throws stops the others; join() then rethrows that first
// failure on the calling thread. Declare the queues the stages share before the
// group, so that they outlive its threads.
//
// Threads        one thread at a time; token() and request_stop() from many.
class StageGroup {
 public:
  // A stop of `outer` stops every stage too.
  explicit StageGroup(std::stop_token outer = {})
      : on_outer_stop_(std::move(outer), RequestStop{&stop_}) {}

  // Leaving scope without join(), by an exception say, stops every stage.
  ~StageGroup() { stop_.request_stop(); }

  StageGroup(const StageGroup&) = delete;
  StageGroup& operator=(const StageGroup&) = delete;

  // Runs `stage(stop_token)` on a thread of its own.
  template <typename Stage>
  void start(Stage stage) {
    threads_.emplace_back([this, stage = std::move(stage)]() mutable {
      try {
        stage(stop_.get_token());
      } catch (...) {
        fail(std::current_exception());
      }
    });
  }

  // What the stages are stopped by, for who feeds them.
  [[nodiscard]] std::stop_token token() const noexcept {
    return stop_.get_token();
  }

  void request_stop() noexcept { stop_.request_stop(); }

  // Waits until every stage has returned.
  void join() {
    threads_.clear();
    if (first_failure_) std::rethrow_exception(first_failure_);
  }

 private:
  struct RequestStop {
    std::stop_source* source;
    void operator()() const noexcept { source->request_stop(); }
  };

  void fail(std::exception_ptr failure) {
    std::lock_guard lock(mutex_);
    if (!first_failure_) first_failure_ = std::move(failure);
    stop_.request_stop();
  }

  std::stop_source stop_;
  std::stop_callback<RequestStop> on_outer_stop_;
  std::mutex mutex_;  // guards first_failure_ while threads run
  std::exception_ptr first_failure_;

  // Declared last, so destroyed first: the threads use everything above.
  std::vector<std::jthread> threads_;
};

}  // namespace cairn::ingest
