// Flips a bit of this process's memory wherever something lies: what a writer
// keeps to itself, and nobody could reach, changes under it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace cairn::testing_support {

// Something to be found that is not found itself.
template <typename Id>
class Masked {
 public:
  explicit Masked(const Id& id) {
    for (std::size_t i = 0; i < kSize; ++i) {
      bytes_[i] = std::to_integer<unsigned>(id.bytes[i]) ^ kMask;
    }
  }

  // In all places. Answers how many that were.
  std::size_t flip_bit() const {
    std::size_t places = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      std::istringstream words(line);
      std::uintptr_t first = 0;
      std::uintptr_t last = 0;
      char dash = 0;
      std::string rights;
      std::string offset;
      std::string device;
      std::uint64_t inode = 0;
      words >> std::hex >> first >> dash >> last >> rights >> offset >>
          device >> std::dec >> inode;
      // A sanitizer's own memory is one of terabytes.
      constexpr std::uintptr_t kMost = std::uintptr_t{1} << 28;
      if (rights != "rw-p" || inode != 0 || last - first > kMost) continue;
      places += flip_bit(reinterpret_cast<unsigned char*>(first), last - first);
    }
    return places;
  }

 private:
  static constexpr std::size_t kSize = Id::kBytes;
  static constexpr unsigned kMask = 0xff;

  // Without a function of the library, which a sanitizer would look into: it
  // goes over memory that is nobody's.
  __attribute__((no_sanitize("address", "undefined"))) std::size_t flip_bit(
      unsigned char* memory, std::size_t size) const {
    unsigned needle[kSize];
    for (std::size_t i = 0; i < kSize; ++i) needle[i] = bytes_[i];
    std::size_t places = 0;
    for (std::size_t at = 0; at + kSize <= size; ++at) {
      if ((memory[at] ^ kMask) != needle[0]) continue;
      std::size_t same = 1;
      while (same < kSize && (memory[at + same] ^ kMask) == needle[same]) {
        ++same;
      }
      if (same < kSize) continue;
      constexpr unsigned kBit = 4;
      memory[at + kSize / 2] =
          static_cast<unsigned char>(memory[at + kSize / 2] ^ kBit);
      ++places;
    }
    return places;
  }

  std::array<unsigned, kSize> bytes_;
};

}  // namespace cairn::testing_support
