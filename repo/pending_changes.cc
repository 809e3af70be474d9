#include "repo/pending_changes.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

namespace cairn::repo {

void PendingChanges::add(std::string_view key,
                         std::optional<std::string_view> value) {
  if (2 * (changes_.size() + 1) > slots_.size()) grow();
  const auto kept =
      value ? std::optional<std::string_view>(keep(*value)) : std::nullopt;
  std::uint32_t& slot = slots_[slot_of(key)];
  if (slot != 0) {
    changes_[slot - 1].value = kept;
    return;
  }
  changes_.push_back({keep(key), kept});
  slot = static_cast<std::uint32_t>(changes_.size());
}

const PendingChanges::Change* PendingChanges::find(std::string_view key) const {
  if (slots_.empty()) return nullptr;
  const std::uint32_t slot = slots_[slot_of(key)];
  return slot == 0 ? nullptr : &changes_[slot - 1];
}

std::size_t PendingChanges::bytes() const noexcept {
  return text_bytes_ + changes_.size() * sizeof(Change) +
         slots_.size() * sizeof(std::uint32_t);
}

std::span<const PendingChanges::Change> PendingChanges::sort() {
  slots_.clear();
  std::ranges::sort(changes_, {}, &Change::key);
  return changes_;
}

void PendingChanges::clear() noexcept {
  changes_.clear();
  slots_.clear();
  texts_.release();
  text_bytes_ = 0;
}

// The key's own, or the one where it would go.
std::size_t PendingChanges::slot_of(std::string_view key) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = std::hash<std::string_view>{}(key)&mask;
  while (slots_[slot] != 0 && changes_[slots_[slot] - 1].key != key) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

void PendingChanges::grow() {
  constexpr std::size_t kLeast = 64;
  slots_.assign(std::max(kLeast, std::bit_ceil(4 * changes_.size())), 0);
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    slots_[slot_of(changes_[i].key)] = static_cast<std::uint32_t>(i + 1);
  }
}

std::string_view PendingChanges::keep(std::string_view text) {
  if (text.empty()) return {};
  char* const kept =
      static_cast<char*>(texts_.allocate(text.size(), alignof(char)));
  std::memcpy(kept, text.data(), text.size());
  text_bytes_ += text.size();
  return {kept, text.size()};
}

}  // namespace cairn::repo
