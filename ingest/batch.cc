#include "ingest/batch.h"

#include <utility>

namespace cairn::ingest {

BatchLine::BatchLine(std::size_t batches, std::size_t buffer_bytes) {
  for (std::size_t i = 0; i < batches; ++i) {
    free_.push_back(std::make_shared<Batch>());
    free_.back()->buffer.resize(buffer_bytes);
  }
}

std::shared_ptr<Batch> BatchLine::acquire(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  if (!freed_.wait(lock, stop, [&] { return !free_.empty(); })) {
    return nullptr;
  }
  auto batch = std::move(free_.back());
  free_.pop_back();
  return batch;
}

void BatchLine::feed(std::shared_ptr<Batch> batch) {
  {
    std::lock_guard lock(mutex_);
    batch->is_encoded = false;
    to_encode_.push_back(batch);
    in_order_.push_back(std::move(batch));
  }
  fed_.notify_one();
}

void BatchLine::close() {
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  fed_.notify_all();
  encoded_.notify_all();
}

std::shared_ptr<Batch> BatchLine::take_to_encode(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const bool is_ready =
      fed_.wait(lock, stop, [&] { return is_closed_ || !to_encode_.empty(); });
  if (!is_ready || to_encode_.empty()) return nullptr;
  auto batch = std::move(to_encode_.front());
  to_encode_.pop_front();
  return batch;
}

void BatchLine::encoded(const std::shared_ptr<Batch>& batch) {
  {
    std::lock_guard lock(mutex_);
    batch->is_encoded = true;
    if (batch != in_order_.front()) return;  // an earlier one is waited for
  }
  encoded_.notify_all();
}

std::shared_ptr<Batch> BatchLine::take_to_assemble(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const bool is_ready = encoded_.wait(lock, stop, [&] {
    return in_order_.empty() ? is_closed_ : in_order_.front()->is_encoded;
  });
  if (!is_ready || in_order_.empty()) return nullptr;
  auto batch = std::move(in_order_.front());
  in_order_.pop_front();
  return batch;
}

void BatchLine::release(std::shared_ptr<Batch> batch) {
  batch->events.clear();
  batch->used = 0;
  {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(batch));
  }
  freed_.notify_one();
}

}  // namespace cairn::ingest
