#include "service/health.h"

#include <algorithm>
#include <vector>

namespace cairn::service {
namespace {

constexpr std::size_t kLeast = 3;  // that make something usual

template <typename Value>
Value median_of(std::vector<Value> values) {
  const auto middle =
      values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

Age age_of(Moment then, Moment now) noexcept {
  if (then > now) return {std::chrono::seconds(0), true};
  return {now - then, false};
}

bool is_overdue(const std::optional<Moment>& last, const Rhythm& rhythm,
                const Limits& limits, Moment now) noexcept {
  if (rhythm.last_due) return !last || *last < *rhythm.last_due;
  if (rhythm.interval.count() == 0 || !last) return false;
  return age_of(*last, now).length > rhythm.interval + limits.overdue;
}

std::optional<std::chrono::seconds> usual_interval(
    std::span<const GoodState> states) {
  constexpr std::size_t kMost = 21;
  constexpr std::chrono::minutes kApart{10};
  states = states.first(std::min(states.size(), kMost));
  std::vector<std::chrono::seconds> distances;
  for (std::size_t i = 1; i < states.size(); ++i) {
    const auto distance = age_of(states[i].when, states[i - 1].when).length;
    if (distance >= kApart) distances.push_back(distance);
  }
  if (distances.size() + 1 < kLeast) return std::nullopt;
  return median_of(std::move(distances));
}

std::optional<std::uint64_t> usual_bytes(std::span<const GoodState> states) {
  constexpr std::size_t kMost = 10;
  if (states.size() < kLeast + 1) return std::nullopt;
  const auto earlier = states.subspan(1, std::min(states.size() - 1, kMost));
  std::vector<std::uint64_t> sizes;
  for (const auto& state : earlier) sizes.push_back(state.bytes);
  return median_of(std::move(sizes));
}

double change_of(std::uint64_t bytes, std::uint64_t usual) noexcept {
  if (usual == 0) return bytes == 0 ? 0 : 1;
  return static_cast<double>(bytes) / static_cast<double>(usual) - 1;
}

}  // namespace cairn::service
