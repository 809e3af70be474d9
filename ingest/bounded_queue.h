// What the stages of a pipeline hand each other: a queue that makes the faster
// side wait.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace cairn::ingest {

// Any number of producers and consumers. Items leave in the order they came.
//
// Threads        all members from many threads.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Waits while full. False: the item was not taken, because the pipeline is
  // stopping or the queue was closed.
  [[nodiscard]] bool push(T item, std::stop_token stop) {
    {
      std::unique_lock lock(mutex_);
      const bool has_room = has_room_.wait(
          lock, stop, [&] { return closed_ || items_.size() < capacity_; });
      if (!has_room || closed_ || stop.stop_requested()) {
        if (has_room) has_room_.notify_one();  // that was for somebody else
        return false;
      }
      items_.push_back(std::move(item));
    }
    has_items_.notify_one();
    return true;
  }

  // Waits while empty. Nothing: closed and drained, or stopping, whatever the
  // queue may still hold then.
  [[nodiscard]] std::optional<T> pop(std::stop_token stop) {
    std::optional<T> item;
    {
      std::unique_lock lock(mutex_);
      const bool has_items = has_items_.wait(
          lock, stop, [&] { return closed_ || !items_.empty(); });
      if (!has_items || items_.empty() || stop.stop_requested()) {
        if (has_items) has_items_.notify_one();  // that was for somebody else
        return std::nullopt;
      }
      item.emplace(std::move(items_.front()));
      items_.pop_front();
    }
    has_room_.notify_one();
    return item;
  }

  // No more items will come; consumers drain what is left.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    has_room_.notify_all();
    has_items_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;  // guards items_ and closed_
  // Two, so that one item wakes one thread that can use it.
  std::condition_variable_any has_room_;
  std::condition_variable_any has_items_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace cairn::ingest
