// An array that lies in a file of the cache folder: what collection and check
// must remember of every blob grows with the repository, and the process must
// not.
//
//   file:  | segment 0 | segment 1 |    segment 2    |  ...   each twice as
//             64 KiB      128 KiB        256 KiB              long as the last
//
// The file has no name: a crash leaves nothing behind. Room is allocated before
// it is mapped, so that a full disk shows here and not as a signal on the first
// write; what then finds no room in the file lies in memory, since a prune on a
// full disk is what frees it.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn::repo {

// The bytes beneath: zeros at first.
//
// Threads        one thread at a time.
class ScratchBytes {
 public:
  explicit ScratchBytes(const std::filesystem::path& folder);
  ScratchBytes(ScratchBytes&&) noexcept;
  ScratchBytes& operator=(ScratchBytes&&) = delete;
  ~ScratchBytes();

  // Afterwards at() may be asked for every offset below `size`.
  void reserve(std::uint64_t size);

  // The byte at `offset`; as many follow it as are left in its segment.
  // Segments begin at multiples of kFirstSegmentBytes.
  [[nodiscard]] std::byte* at(std::uint64_t offset) const;

  static constexpr std::uint64_t kFirstSegmentBytes = std::uint64_t{64} << 10;

 private:
  void add_segment();

  int fd_ = -1;  // none: everything lies in memory
  std::vector<std::byte*> segments_;
};

// Threads        one thread at a time.
template <typename T>
class ScratchArray {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(ScratchBytes::kFirstSegmentBytes % sizeof(T) == 0);

 public:
  explicit ScratchArray(const std::filesystem::path& folder) : bytes_(folder) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  // New elements are zeros. Requires: size >= size().
  void grow_to(std::uint64_t size) {
    assert(size >= size_);
    bytes_.reserve(size * sizeof(T));
    size_ = size;
  }

  void push_back(const T& value) {
    grow_to(size_ + 1);
    (*this)[size_ - 1] = value;
  }

  [[nodiscard]] T& operator[](std::uint64_t i) {
    assert(i < size_);
    return *reinterpret_cast<T*>(bytes_.at(i * sizeof(T)));
  }
  [[nodiscard]] const T& operator[](std::uint64_t i) const {
    assert(i < size_);
    return *reinterpret_cast<const T*>(bytes_.at(i * sizeof(T)));
  }

 private:
  ScratchBytes bytes_;
  std::uint64_t size_ = 0;  // elements
};

}  // namespace cairn::repo
