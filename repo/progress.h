// How far a long operation has come: written by the threads that work, read by
// whoever shows it, a few times a second. Nothing depends on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cairn::repo {

// Threads        all members from many threads.
class Progress {
 public:
  std::atomic<std::uint64_t> bytes_done = 0;
  std::atomic<std::uint64_t> bytes_total = 0;   // 0: not known
  std::atomic<std::uint64_t> bytes_new = 0;     // of those done, not yet stored
  std::atomic<std::uint64_t> bytes_stored = 0;  // added to the repository
  std::atomic<std::uint64_t> items_done = 0;    // files, packs, snapshots
  std::atomic<std::uint64_t> items_total = 0;   // 0: not known

  // What is being worked on: a path, a pack, a phase.
  void set_current(std::string_view what) {
    std::lock_guard lock(mutex_);
    current_ = what;
  }
  [[nodiscard]] std::string current() const {
    std::lock_guard lock(mutex_);
    return current_;
  }

 private:
  mutable std::mutex mutex_;  // guards current_
  std::string current_;
};

}  // namespace cairn::repo
