// What waits in memory until its pack, node or index object is full. A bit of
// it that flips meanwhile would be sealed, signed and read back as it is then,
// and be found by who restores; so it is compared with a sum of it that is as
// old as the waiting.
//
//   Kept<Link> rows;
//   rows.add(row);                          // as often as wanted
//   const auto plain = encode(rows.items());
//   rows.require_unchanged();               // what was encoded is what came
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "repo/blob.h"
#include "repo/memory_sum.h"
#include "repo/node.h"

namespace cairn::repo {

// Of all that they say, in memory: nothing that is stored.
[[nodiscard]] MemorySum memory_sum_of(const BlobId& id) noexcept;
[[nodiscard]] MemorySum memory_sum_of(const Link& link) noexcept;
[[nodiscard]] MemorySum memory_sum_of(std::span<const Link> links) noexcept;
[[nodiscard]] MemorySum memory_sum_of(const BlobRow& row) noexcept;
[[nodiscard]] MemorySum memory_sum_of(const WrappedKey& key) noexcept;
[[nodiscard]] MemorySum memory_sum_of(const Directory& directory) noexcept;
[[nodiscard]] MemorySum memory_sum_of(const IndexedPack& pack) noexcept;

// Throws CorruptionError unless the sums are equal.
void require_unchanged(const MemorySum& before, const MemorySum& now);

// Threads        one thread at a time.
template <typename Item>
class Kept {
 public:
  Kept() = default;
  explicit Kept(std::span<const Item> items) {
    items_.reserve(items.size());
    for (const Item& item : items) add(item);
  }

  void add(Item item) {
    sum_.add(memory_sum_of(item));
    items_.push_back(std::move(item));
  }

  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

  // Those that are right. Throws CorruptionError.
  [[nodiscard]] const std::vector<Item>& unchanged() const {
    require_unchanged();
    return items_;
  }

  // As they are now.
  [[nodiscard]] const std::vector<Item>& items() const noexcept {
    return items_;
  }

  // Throws CorruptionError.
  void require_unchanged() const {
    MemorySum now;
    for (const Item& item : items_) now.add(memory_sum_of(item));
    repo::require_unchanged(sum_, now);
  }

  // All of them, of which none stay. Throws CorruptionError.
  [[nodiscard]] std::vector<Item> take() {
    require_unchanged();
    sum_ = {};
    return std::exchange(items_, {});
  }

  void clear() noexcept {
    sum_ = {};
    items_.clear();
  }

 private:
  std::vector<Item> items_;
  MemorySum sum_;
};

}  // namespace cairn::repo
