#include "ingest/base_finder.h"

#include <algorithm>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {

BaseFinder::BaseFinder(repo::BlobReader blobs, std::vector<repo::Link> previous)
    : blobs_(std::move(blobs)), cursor_(blobs_, std::move(previous)) {}

std::optional<BaseFinder::Candidate> BaseFinder::find(std::uint64_t offset,
                                                      std::uint64_t length) {
  std::lock_guard lock(mutex_);
  // By its middle: cuts move a little, and the middle stays in the same chunk.
  const auto middle = static_cast<std::int64_t>(offset + length / 2);
  const std::int64_t place = std::max<std::int64_t>(0, middle + shift_);
  try {
    const auto chunk = cursor_.at(static_cast<std::uint64_t>(place));
    if (!chunk) return std::nullopt;
    return Candidate{chunk->id, chunk->offset};
  } catch (const repo::Error&) {
    return std::nullopt;  // a base is worth having, never worth failing for
  }
}

void BaseFinder::matched(std::uint64_t offset, std::uint64_t previous_offset) {
  std::lock_guard lock(mutex_);
  shift_ = static_cast<std::int64_t>(previous_offset) -
           static_cast<std::int64_t>(offset);
}

}  // namespace cairn::ingest
