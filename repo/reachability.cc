#include "repo/reachability.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cairn::repo {

void walk_graph(const Link& root, const GraphVisitor& visitor) {
  struct Node {
    std::vector<Link> rows;
    std::size_t next = 0;
  };
  std::vector<Node> way;  // from the root down; a stack, since folders nest
                          // as deeply as anybody made them
  const auto reach = [&](const Link& link) {
    const bool enter = visitor.reach(link) == Enter::yes;
    if (!enter || link.kind != BlobKind::links) return;
    if (auto rows = visitor.read(link)) way.push_back({std::move(*rows), 0});
  };
  reach(root);
  while (!way.empty()) {
    if (way.back().next == way.back().rows.size()) {
      way.pop_back();
      continue;
    }
    const Link link = way.back().rows[way.back().next++];
    reach(link);
  }
}

namespace {

constexpr std::size_t kFewestSlots = std::size_t{1} << 10;
constexpr std::size_t kMostSlots = std::size_t{1} << 18;

}  // namespace

RecentlyReached::RecentlyReached() : slots_(kFewestSlots) {}

bool RecentlyReached::contains_or_add(const Link& link) {
  Slot& slot = slot_of(link.id);
  if (slot.is_used && slot.id == link.id && slot.kind == link.kind) return true;
  if (!slot.is_used) ++used_;
  slot = {link.id, link.kind, true};
  if (used_ > slots_.size() / 2 && slots_.size() < kMostSlots) grow();
  return false;
}

RecentlyReached::Slot& RecentlyReached::slot_of(const BlobId& id) {
  return slots_[id.prefix() % slots_.size()];
}

// To clear ten megabytes would be most of a walk through a small repository.
void RecentlyReached::grow() {
  const auto before =
      std::exchange(slots_, std::vector<Slot>(4 * slots_.size()));
  for (const Slot& slot : before) {
    if (slot.is_used) slot_of(slot.id) = slot;
  }
}

bool VisitedNodes::add(const BlobId& id) {
  return seen_.insert(half_of(id)).second;
}

bool VisitedNodes::contains(const BlobId& id) const {
  return seen_.contains(half_of(id));
}

std::size_t VisitedNodes::Hash::operator()(const Half& half) const noexcept {
  std::size_t value;
  std::memcpy(&value, half.data(), sizeof value);
  return value;
}

VisitedNodes::Half VisitedNodes::half_of(const BlobId& id) {
  Half half;
  std::copy_n(id.bytes.begin(), half.size(), half.begin());
  return half;
}

}  // namespace cairn::repo
