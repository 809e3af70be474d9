// Tells whether bytes are still what they were: a bit that flips in memory, or
// a buffer that somebody else wrote to, changes the sum. Against mistakes, not
// against an enemy; in exchange it costs no more than reading the bytes.
//
// It is the sum of 64-bit words modulo 2^64 - 1. There, to move bytes on by one
// is to rotate, so that the sums of pieces make the sum of the whole.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace cairn::repo {

class MemorySum {
 public:
  void add(std::span<const std::byte> bytes) noexcept {
    Lanes first;
    Lanes second;
    Lanes third;
    Lanes fourth;
    std::size_t at = 0;
    for (; at + 4 * Lanes::kBytes <= bytes.size(); at += 4 * Lanes::kBytes) {
      const std::byte* const next = bytes.data() + at;
      first.add(next);
      second.add(next + Lanes::kBytes);
      third.add(next + 2 * Lanes::kBytes);
      fourth.add(next + 3 * Lanes::kBytes);
    }
    MemorySum sum;
    for (const Lanes& lanes : {first, second, third, fourth}) {
      for (std::size_t i = 0; i < Lanes::kCount; ++i) {
        sum.add_word(lanes.words[i] - (lanes.upper[i] << kHalf));
        sum.add_word(std::rotl(lanes.upper[i], kHalf));
      }
    }
    for (; at < bytes.size(); at += kWord) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min(kWord, bytes.size() - at));
      sum.add_word(word);
    }
    sum.size_ = bytes.size();
    add(sum);
  }

  // Of the bytes that come next.
  void add(const MemorySum& next) noexcept {
    add_word(std::rotl(next.sum_, kByte * static_cast<int>(size_ % kWord)));
    size_ += next.size_;
  }

  friend bool operator==(const MemorySum&, const MemorySum&) = default;

 private:
  static constexpr std::size_t kWord = sizeof(std::uint64_t);
  static constexpr int kByte = 8;
  static constexpr int kHalf = 32;

  // Several words at once. With the sum of their upper halves, which does not
  // overflow, the carries of the sum of words are known.
  struct Lanes {
    static constexpr std::size_t kCount = 2;
    static constexpr std::size_t kBytes = kCount * kWord;
    using Words [[gnu::vector_size(kBytes)]] = std::uint64_t;

    void add(const std::byte* bytes) noexcept {
      Words next;
      std::memcpy(&next, bytes, kBytes);
      words += next;
      upper += next >> kHalf;
    }

    Words words{};
    Words upper{};
  };

  void add_word(std::uint64_t word) noexcept {
    sum_ += word;
    if (sum_ < word) ++sum_;
  }

  std::uint64_t sum_ = 0;   // never 0 once a word was not
  std::uint64_t size_ = 0;  // bytes so far
};

[[nodiscard]] inline MemorySum memory_sum(
    std::span<const std::byte> bytes) noexcept {
  MemorySum sum;
  sum.add(bytes);
  return sum;
}

}  // namespace cairn::repo
