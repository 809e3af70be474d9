// zstd, behind three functions. Contexts are kept and reused: making one costs
// more than compressing a chunk.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace cairn::repo {

// Threads        one thread at a time; each worker has its own.
class Compressor {
 public:
  // `level` as zstd has it.
  explicit Compressor(int level);
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
