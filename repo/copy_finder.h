// Finds what a chunk has in common with an earlier state of it.
//
// The two mostly run side by side, at a distance that changes only where bytes
// were put in or taken out. So the finder walks along both; where they part, it
// indexes the next few hundred bytes of the base and goes on from where they
// meet again. What is nearly the same costs little more than comparing it,
// where zstd first hashes the whole base (docs/decisions/0024).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cairn::repo {

// plain[at, at + size) is base[from, from + size).
struct Copy {
  std::size_t at = 0;
  std::size_t from = 0;
  std::size_t size = 0;
};

// Threads        one thread at a time; each worker has its own.
class CopyFinder {
 public:
  // In ascending order of `at`, none reaching into the next. What lies between
  // them is not in the base, or not where anybody looked. Nothing: there is too
  // much of that, and zstd does better. The answer is valid until the next
  // call.
  //
  // Requires: fewer than 2^31 bytes each.
  [[nodiscard]] std::optional<std::span<const Copy>> find(
      std::span<const std::byte> plain, std::span<const std::byte> base);

 private:
  class Walk;

  static constexpr unsigned kHashBits = 11;
  // By hash of the bytes there: a place in the base, plus one; 0 for none.
  using Places = std::array<std::uint32_t, std::size_t{1} << kHashBits>;

  Places places_{};  // these are reused between chunks
  std::vector<Copy> copies_;
};

}  // namespace cairn::repo
