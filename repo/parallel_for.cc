#include "repo/parallel_for.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "repo/error.h"

namespace cairn::repo {

void parallel_for(
    std::size_t count, unsigned threads, const std::stop_token& stop,
    const std::function<std::function<void(std::size_t)>()>& make_worker) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> has_failed = false;
  std::mutex mutex;  // guards first_failure
  std::exception_ptr first_failure;
  const auto run = [&] {
    try {
      const auto work = make_worker();
      while (!has_failed && !stop.stop_requested()) {
        const std::size_t item = next++;
        if (item >= count) return;
        work(item);
      }
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!first_failure) first_failure = std::current_exception();
      has_failed = true;
    }
  };
  {
    std::vector<std::jthread> others;
    for (unsigned i = 1; i < threads; ++i) others.emplace_back(run);
    run();
  }
  if (first_failure) std::rethrow_exception(first_failure);
  if (stop.stop_requested()) throw Cancelled("interrupted");
}

}  // namespace cairn::repo
