// What all fuzz targets share. A target hands hostile bytes to one decoder; the
// decoder refuses them as damaged or unknown, or takes them, and then they are
// the one spelling of what they say. Anything else stops the program.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "repo/error.h"

namespace cairn::fuzzing {

inline std::span<const std::byte> bytes_of(const std::uint8_t* data,
                                           std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

// Runs `decode`, which may refuse in the two ways that decoders have.
template <typename Decode>
void allow_refusal(Decode decode) {
  try {
    decode();
  } catch (const repo::CorruptionError&) {
  } catch (const repo::UnsupportedFormat&) {
  }
}

inline void require(bool condition) {
  if (!condition) std::abort();
}

template <typename Encoded>
void require_same(const Encoded& encoded, std::span<const std::byte> bytes) {
  require(std::ranges::equal(encoded, bytes));
}

}  // namespace cairn::fuzzing
