#include "ingest/run_window.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cairn::ingest {

bool RunWindow::has_room() {
  const std::lock_guard lock(mutex_);
  return slots_.size() < capacity_;
}

void RunWindow::add(Run run) {
  {
    const std::lock_guard lock(mutex_);
    assert(slots_.size() < capacity_);
    slots_.push_back({std::move(run), State::waiting});
  }
  has_waiting_.notify_one();
}

Run* RunWindow::claim(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  std::deque<Slot>::iterator slot;
  const auto find = [&] {
    slot = std::ranges::find(slots_, State::waiting, &Slot::state);
    return slot != slots_.end();
  };
  if (!has_waiting_.wait(lock, stop, find)) return nullptr;
  slot->state = State::claimed;
  return &slot->run;
}

void RunWindow::decoded(const Run* run) {
  {
    const std::lock_guard lock(mutex_);
    for (Slot& slot : slots_) {
      if (&slot.run == run) slot.state = State::decoded;
    }
  }
  first_decoded_.notify_one();
}

std::optional<Run> RunWindow::take_first(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (slots_.empty()) return std::nullopt;
  const bool is_decoded = first_decoded_.wait(
      lock, stop, [&] { return slots_.front().state == State::decoded; });
  if (!is_decoded) return std::nullopt;
  Run run = std::move(slots_.front().run);
  slots_.pop_front();
  return run;
}

}  // namespace cairn::ingest
