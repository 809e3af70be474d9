// A blob as what it copies from its base and the literals between: codec 3
// (FORMAT.md, 6.6.1; docs/decisions/0024).
//
//   base       ....AAAAAAAAAAAAAAxxBBBBBBBBBBBBzzzzCCCCCCCCCCCC....
//   plain          AAAAAAAAAAAAAAyyBBBBBBBBBBBBCCCCCCCCCCCC
//   steps      copy A;   2 literals, copy B in their place;   copy C, 4 further
//   literals   yy
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "repo/compression.h"
#include "repo/copy_finder.h"
#include "repo/raw_bytes.h"

namespace cairn::repo {

// What of steps and literals is a zstd frame, without its magic.
enum class Packed : std::uint8_t { nothing = 0, literals = 1, all = 2 };

// Threads        one thread at a time; each worker has its own.
class PatchEncoder {
 public:
  PatchEncoder();

  // Writes the patch that makes `plain` of `base` into `out`. Answers its size,
  // or 0 when the two are not nearly the same or it does not fit.
  //
  // Requires: plain is not empty; both at most kMaxBlobBytes.
  [[nodiscard]] std::size_t encode(std::span<const std::byte> plain,
                                   std::span<const std::byte> base,
                                   std::span<std::byte> out);

 private:
  // Into bytes_ and literals_.
  void write_steps(std::span<const std::byte> plain,
                   std::span<const Copy> copies);
  // Makes bytes_, which are steps and literals, smaller if that can be.
  Packed pack(std::size_t step_bytes, bool is_text);

  CopyFinder finder_;
  Compressor compressor_;
  std::vector<std::byte> bytes_;  // these are reused between blobs
  std::vector<std::byte> literals_;
  RawBytes frame_;
};

// Threads        one thread at a time; each worker has its own.
class PatchDecoder {
 public:
  // Makes exactly out.size() bytes of `base`. False: `patch` is none that does;
  // whatever it claims, memory stays bounded by out.size() and its own size.
  [[nodiscard]] bool decode(std::span<const std::byte> patch,
                            std::span<const std::byte> base,
                            std::span<std::byte> out,
                            Decompressor& decompressor);

 private:
  [[nodiscard]] bool unpack(std::span<const std::byte> packed,
                            std::size_t max_bytes, Decompressor& decompressor);

  RawBytes frame_;  // these are reused between blobs
  RawBytes unpacked_;
};

}  // namespace cairn::repo
