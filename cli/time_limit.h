// A request to stop that the clock makes, or whoever asks first.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace cairn::cli {

// Threads        one thread at a time; the token from many.
class TimeLimit {
 public:
  // `stop` is passed on. The limit counts from now.
  TimeLimit(std::chrono::seconds limit, const std::stop_token& stop)
      : pass_on_(stop, [this] { ends_.request_stop(); }),
        clock_([this, limit](const std::stop_token& is_over) {
          std::mutex mutex;  // for the condition alone
          std::condition_variable_any never;
          std::unique_lock lock(mutex);
          never.wait_for(lock, is_over, limit, [] { return false; });
          if (!is_over.stop_requested()) ends_.request_stop();
        }) {}

  [[nodiscard]] std::stop_token token() const noexcept {
    return ends_.get_token();
  }

 private:
  std::stop_source ends_;
  std::stop_callback<std::function<void()>> pass_on_;
  std::jthread clock_;  // last: it uses the rest
};

}  // namespace cairn::cli
