// Where a stream of bytes is split. Same bytes, same key, same sizes: the same
// cuts on every machine, for ever (FORMAT.md, section 7).
//
// Two profiles. `cdc` cuts where the content says so, so that an inserted byte
// moves one cut and not all that follow. `page` cuts at fixed places, for files
// that are written in place: heap files, SQLite, disk images.
//
// Pure functions of their input: no I/O, no threads, no identity of chunks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace cairn::chunker {

// All in bytes. A chunk is at least `min` long (the last of a stream may be
// shorter), at most `max`, and `normal` is what normalized cutting aims at.
struct ChunkSizes {
  std::uint32_t min = 16U << 10;
  std::uint32_t normal = 64U << 10;
  std::uint32_t max = 256U << 10;

  // kWindowBytes <= min < normal < max <= 8 MiB, normal a power of two.
  [[nodiscard]] bool is_valid() const noexcept;
  bool operator==(const ChunkSizes&) const = default;
};

// The cut at the end of a chunk is decided by these last bytes of it and by
// nothing else.
inline constexpr std::size_t kWindowBytes = 64;

using CutterKey = std::array<std::byte, 32>;

// Threads        const members from many threads.
class ContentDefinedCutter {
 public:
  // Requires: sizes.is_valid().
  ContentDefinedCutter(const CutterKey& key, const ChunkSizes& sizes);
  ~ContentDefinedCutter();
  ContentDefinedCutter(ContentDefinedCutter&&) noexcept;
  ContentDefinedCutter& operator=(ContentDefinedCutter&&) noexcept;

  // Length of the chunk that begins at bytes[0].
  //
  // Requires: `bytes` is not empty, and either holds at least `max` bytes or is
  // all that is left of the stream. Looks at no more than `max` bytes.
  [[nodiscard]] std::size_t first_cut(std::span<const std::byte> bytes) const;

  [[nodiscard]] const ChunkSizes& sizes() const noexcept;

 private:
  struct State;
  class Confirmation;
  std::unique_ptr<State> state_;
};

// Cuts every `page_chunk_bytes`, a multiple of 8 KiB, counted from the start of
// the stream.
class PageCutter {
 public:
  static constexpr std::uint32_t kGridBytes = 8U << 10;

  explicit PageCutter(std::uint32_t chunk_bytes);

  [[nodiscard]] std::uint32_t chunk_bytes() const noexcept {
    return chunk_bytes_;
  }

  // As above, with `max` being the fixed size.
  [[nodiscard]] std::size_t first_cut(std::span<const std::byte> bytes) const;

 private:
  std::uint32_t chunk_bytes_;
};

}  // namespace cairn::chunker
