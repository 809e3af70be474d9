// The numbers and strings of an RDB, of bytes that may end in the middle.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace cairn::ingest {

// It is of a kind that is not known, or not as the format says.
struct CannotWalkRdb {
  std::string why;
  bool is_malformed = false;
};

[[noreturn]] void rdb_is_malformed(const std::string& what);

// Reads what may end in the middle: then nothing of it counts as read.
class RdbCursor {
 public:
  explicit RdbCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  struct NotAll {};

  std::uint64_t big_endian(std::size_t size) {
    std::uint64_t value = 0;
    for (const auto byte : take(size)) {
      value = value << 8U | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  }
  std::uint64_t little_endian(std::size_t size) {
    std::uint64_t value = 0;
    const auto bytes = take(size);
    for (std::size_t i = size; i > 0; --i) {
      value = value << 8U | std::to_integer<std::uint64_t>(bytes[i - 1]);
    }
    return value;
  }
  std::span<const std::byte> take(std::size_t size) {
    if (bytes_.size() - at_ < size) throw NotAll();
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  // As many of them as there are.
  std::size_t pass(std::uint64_t size) {
    const auto passed = static_cast<std::size_t>(
        std::min<std::uint64_t>(size, bytes_.size() - at_));
    at_ += passed;
    return passed;
  }
  [[nodiscard]] std::size_t at() const noexcept { return at_; }
  [[nodiscard]] bool is_at_end() const noexcept { return at_ == bytes_.size(); }
  void back_to(std::size_t at) noexcept { at_ = at; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

// The head of a string: how many bytes follow, and, of one that is a number,
// that.
struct RdbStringHead {
  std::uint64_t bytes = 0;
  bool is_plain = true;
  std::optional<std::int64_t> number = {};
};

// These throw RdbCursor::NotAll, with the cursor somewhere behind, and
// CannotWalkRdb.
[[nodiscard]] std::uint64_t rdb_length(RdbCursor& cursor);
[[nodiscard]] RdbStringHead rdb_string_head(RdbCursor& cursor);

}  // namespace cairn::ingest
