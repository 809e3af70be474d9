// Changes to an ordered store that wait to be written: the last one to each
// key. They come by the ten thousand, and most keys are hashes; so bytes lie in
// one piece, and are put in order once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace cairn::repo {

// Threads        one thread at a time.
class PendingChanges {
 public:
  struct Change {
    std::string_view key;
    std::optional<std::string_view> value;  // nothing: the key is removed
  };

  // Copies both.
  void add(std::string_view key, std::optional<std::string_view> value);

  // Null: the key waits for no change. Valid until the next add().
  [[nodiscard]] const Change* find(std::string_view key) const;

  [[nodiscard]] bool empty() const noexcept { return changes_.empty(); }

  // Memory taken, about.
  [[nodiscard]] std::size_t bytes() const noexcept;

  // All of them, by ascending keys. After this, only clear().
  [[nodiscard]] std::span<const Change> sort();

  void clear() noexcept;

 private:
  [[nodiscard]] std::size_t slot_of(std::string_view key) const;
  void grow();
  std::string_view keep(std::string_view text);

  std::pmr::monotonic_buffer_resource texts_;
  std::size_t text_bytes_ = 0;
  std::vector<Change> changes_;
  // Open addressing: one more than a place in changes_, or 0. A power of two of
  // them, at least half of which are 0.
  std::vector<std::uint32_t> slots_;
};

}  // namespace cairn::repo
