#include "ingest/base_finder.h"

#include <algorithm>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

std::uint64_t distance(std::uint64_t a, std::uint64_t b) {
  return a > b ? a - b : b - a;
}

// The chunk whose length and place are nearest to what is looked for.
class Best {
 public:
  Best(std::uint64_t length, std::uint64_t middle)
      : length_(length), middle_(middle) {}

  void consider(const repo::StreamCursor::Place& place) {
    // A length that is off by a hundredth counts as much as a place that is off
    // by a sixth of the length.
    constexpr std::uint64_t kLengthWeight = 16;
    const std::uint64_t penalty =
        kLengthWeight * distance(length_, place.length) +
        distance(middle_, place.offset + place.length / 2);
    if (place_ && penalty >= penalty_) return;
    place_ = place;
    penalty_ = penalty;
  }

  [[nodiscard]] const repo::StreamCursor::Place& place() const {
    return *place_;
  }

 private:
  std::uint64_t length_;
  std::uint64_t middle_;
  std::optional<repo::StreamCursor::Place> place_;
  std::uint64_t penalty_ = 0;
};

}  // namespace

BaseFinder::BaseFinder(repo::BlobReader blobs, std::vector<repo::Link> previous)
    : blobs_(std::move(blobs)), cursor_(blobs_, std::move(previous)) {}

std::optional<BaseFinder::Candidate> BaseFinder::find(std::uint64_t offset,
                                                      std::uint64_t length) {
  // Workers run ahead of each other, and rows deleted or inserted since the
  // last match have moved the place. So the neighbours are looked at too: cuts
  // lie where the content says, so the counterpart has nearly the same length.
  constexpr int kNeighbours = 2;
  std::lock_guard lock(mutex_);
  const auto middle = static_cast<std::int64_t>(offset + length / 2);
  const auto place =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, middle + shift_));
  try {
    const auto here = cursor_.at(place);
    if (!here) return std::nullopt;
    Best best(length, place);
    best.consider(*here);
    auto before = *here;
    for (int i = 0; i < kNeighbours && before.offset > 0; ++i) {
      before = *cursor_.at(before.offset - 1);
      best.consider(before);
    }
    auto after = here;
    for (int i = 0; i < kNeighbours && after; ++i) {
      after = cursor_.at(after->offset + after->length);
      if (after) best.consider(*after);
    }
    return Candidate{best.place().id, best.place().offset};
  } catch (const repo::Error&) {
    return std::nullopt;  // a base is worth having, never worth failing for
  }
}

void BaseFinder::matched(std::uint64_t offset, std::uint64_t previous_offset) {
  std::lock_guard lock(mutex_);
  set_shift(offset, previous_offset);
}

void BaseFinder::found(const repo::BlobId& id, std::uint64_t offset) {
  constexpr std::int64_t kBehind = std::int64_t{4} << 20;
  constexpr int kMaxSteps = 512;
  std::lock_guard lock(mutex_);
  const auto expected = static_cast<std::int64_t>(offset) + shift_;
  try {
    auto place = cursor_.at(
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, expected)));
    if (place && place->id == id) return set_shift(offset, place->offset);
    place = cursor_.at(static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, expected - kBehind)));
    for (int i = 0; i < kMaxSteps && place; ++i) {
      if (place->id == id) return set_shift(offset, place->offset);
      place = cursor_.at(place->offset + place->length);
    }
  } catch (const repo::Error&) {
    return;  // as in find()
  }
}

void BaseFinder::set_shift(std::uint64_t offset,
                           std::uint64_t previous_offset) {
  shift_ = static_cast<std::int64_t>(previous_offset) -
           static_cast<std::int64_t>(offset);
}

}  // namespace cairn::ingest
