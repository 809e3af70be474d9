// zstd, behind a few functions. Contexts are kept and reused: making one costs
// more than compressing a chunk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace cairn::repo {

// What every frame begins with.
inline constexpr std::array<std::byte, 4> kFrameMagic = {
    std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd}};

// Bytes that a frame's header says it decodes to. Nothing: it says none, or is
// no header.
[[nodiscard]] std::optional<std::uint64_t> claimed_size(
    std::span<const std::byte> frame);

// No zero in its first KiB. Not empty.
[[nodiscard]] bool looks_like_text(std::span<const std::byte> plain);

// Threads        one thread at a time; each worker has its own.
class Compressor {
 public:
  // What it is made for. It does the other, too, at some cost.
  enum class Use { whole, difference };

  // `level` as zstd has it.
  Compressor(int level, Use use);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  // Compresses `plain` into `out`, at most out.size() bytes. Answers the size,
  // or 0 when it does not fit, which callers take for "not worth it".
  [[nodiscard]] std::size_t compress(std::span<const std::byte> plain,
                                     std::span<std::byte> out);

  // The same with `base` as prefix: what the two share costs next to nothing.
  [[nodiscard]] std::size_t compress_difference(
      std::span<const std::byte> plain, std::span<const std::byte> base,
      std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Threads        one thread at a time; each worker has its own.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  // Decodes one frame that must give exactly out.size() bytes. `base` is the
  // prefix, empty for none. False: it does not; memory stays bounded whatever
  // the frame claims.
  [[nodiscard]] bool decompress(std::span<const std::byte> frame,
                                std::span<const std::byte> base,
                                std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
