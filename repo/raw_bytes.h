// Room for bytes that are about to be written.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace cairn::repo {

// Like a vector of bytes, but nobody sets them to zero first, which for chunks
// costs as much as a tenth of decoding them.
class RawBytes {
 public:
  RawBytes() = default;
  explicit RawBytes(std::size_t size) { resize(size); }
  RawBytes(RawBytes&& other) noexcept { swap(other); }
  RawBytes& operator=(RawBytes&& other) noexcept {
    swap(other);
    return *this;
  }

  // What was in it is lost; room that it had once it keeps.
  void resize(std::size_t size) {
    if (size > capacity_) {
      bytes_ = std::make_unique_for_overwrite<std::byte[]>(size);
      capacity_ = size;
    }
    size_ = size;
  }

  [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }
  [[nodiscard]] const std::byte* data() const noexcept { return bytes_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::byte* begin() noexcept { return data(); }
  [[nodiscard]] std::byte* end() noexcept { return data() + size_; }
  [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
  [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }

  friend bool operator==(const RawBytes& a, std::span<const std::byte> b) {
    return a.size() == b.size() &&
           (b.empty() || std::memcmp(a.data(), b.data(), b.size()) == 0);
  }

 private:
  void swap(RawBytes& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace cairn::repo
