// How a hash of 32 bytes at every position costs less than a rolling one.
//
// A rolling hash is a chain: each position waits for the one before. Here the
// window doubles instead. With h1[i] = f(byte i),
//
//   h2[i] = h1[i] + a h1[i-1],  h4[i] = h2[i] + a^2 h2[i-2],  ..,  h32[i]
//
// are five passes over a tile, and within a pass no position waits for another,
// so that the compiler turns each into vector code: 32 positions at a time with
// AVX-512. The same source is compiled for several instruction sets and the
// choice made once at run time; integers modulo 2^16 leave no room for
// different answers. Measured on one core of an AMD EPYC (Zen 5): 7 to 9 GB/s
// with AVX-512, 5 to 6 with AVX2, 3 without; gear, the usual rolling hash,
// gives 2.
//
// This file is compiled with -O3 -funroll-loops (chunker/CMakeLists.txt).
#include "chunker/candidate_kernels.h"

#include <algorithm>
#include <cassert>
#include <vector>

namespace cairn::chunker {
namespace {

// Whole vectors of every kernel, and at least as long as the longest step back.
constexpr std::size_t kPadding = 64;

static_assert(kTileBytes % kPadding == 0);

// The hashes of one tile, with zeros before it in place of a missing past.
struct Row {
  alignas(64) std::array<std::uint16_t, kPadding + kTileBytes> values;

  std::uint16_t* tile() { return values.data() + kPadding; }
};

// Must become part of each kernel, or it would be compiled for the baseline.
#define CAIRN_PART_OF_KERNEL [[gnu::always_inline]] inline

CAIRN_PART_OF_KERNEL std::uint16_t product(std::uint16_t a, std::uint16_t b) {
  return static_cast<std::uint16_t>(unsigned{a} * b);
}

CAIRN_PART_OF_KERNEL void hash_bytes(const CandidateRule& rule,
                                     std::span<const std::byte> tile,
                                     std::uint16_t* __restrict hashes) {
  const CandidateRule r = rule;
  const std::byte* const bytes = tile.data();
  const std::size_t size = tile.size();
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = std::to_integer<unsigned>(bytes[i]);
    const auto shifted = static_cast<std::uint16_t>(byte + r.offset);
    const std::uint16_t t = product(shifted, r.first_factor);
    const auto mixed = static_cast<std::uint16_t>(t ^ (t >> 8));
    hashes[i] = product(mixed, r.last_factor);
  }
}

CAIRN_PART_OF_KERNEL void double_window(std::uint16_t power, std::size_t half,
                                        std::size_t count,
                                        const std::uint16_t* from,
                                        std::uint16_t* __restrict to) {
  for (std::size_t i = 0; i < count; ++i) {
    to[i] =
        static_cast<std::uint16_t>(from[i] + product(power, from[i - half]));
  }
}

CAIRN_PART_OF_KERNEL void mark_tile(const CandidateRule& rule,
                                    std::span<const std::byte> tile,
                                    std::uint8_t* __restrict marks) {
  assert(tile.size() <= kTileBytes);
  // Whole vectors only; the last one reaches into zeros.
  const std::size_t count = (tile.size() + kPadding - 1) / kPadding * kPadding;
  Row even_row;
  Row odd_row;
  std::fill_n(even_row.values.begin(), kPadding, std::uint16_t{0});
  std::fill_n(odd_row.values.begin(), kPadding, std::uint16_t{0});
  std::uint16_t* const even = even_row.tile();
  std::uint16_t* const odd = odd_row.tile();
  std::fill(even + tile.size(), even + count, std::uint16_t{0});

  const std::uint16_t a = rule.multiplier;
  const std::uint16_t a2 = product(a, a);
  const std::uint16_t a4 = product(a2, a2);
  const std::uint16_t a8 = product(a4, a4);
  const std::uint16_t a16 = product(a8, a8);
  hash_bytes(rule, tile, even);
  double_window(a, 1, count, even, odd);
  double_window(a2, 2, count, odd, even);
  double_window(a4, 4, count, even, odd);
  double_window(a8, 8, count, odd, even);

  const std::uint16_t limit = rule.limit;
  for (std::size_t i = 0; i < count; ++i) {
    const auto hash =
        static_cast<std::uint16_t>(even[i] + product(a16, even[i - 16]));
    marks[i] = hash < limit;
  }
}

void mark_anywhere(const CandidateRule& rule, std::span<const std::byte> tile,
                   CandidateMarks& marks) {
  mark_tile(rule, tile, marks.data());
}

#if defined(__x86_64__)

[[gnu::target("avx2")]] void mark_with_avx2(const CandidateRule& rule,
                                            std::span<const std::byte> tile,
                                            CandidateMarks& marks) {
  mark_tile(rule, tile, marks.data());
}

// g++ would stay with 256 bits; clang has no such option and decides itself.
#if defined(__clang__)
#define CAIRN_AVX512 "avx512f,avx512bw,avx512vl"
#else
#define CAIRN_AVX512 "avx512f,avx512bw,avx512vl,prefer-vector-width=512"
#endif
[[gnu::target(CAIRN_AVX512)]] void mark_with_avx512(
    const CandidateRule& rule, std::span<const std::byte> tile,
    CandidateMarks& marks) {
  mark_tile(rule, tile, marks.data());
}

#endif

// Asked by hand, not by ifunc, whose resolvers run before the sanitizers are
// ready.
std::vector<CandidateKernel> kernels_of_this_machine() {
  std::vector<CandidateKernel> kernels;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    kernels.push_back({"avx512", mark_with_avx512});
  }
  if (__builtin_cpu_supports("avx2")) {
    kernels.push_back({"avx2", mark_with_avx2});
  }
#endif
  kernels.push_back({"baseline", mark_anywhere});
  return kernels;
}

}  // namespace

std::span<const CandidateKernel> candidate_kernels() {
  static const std::vector<CandidateKernel> kernels = kernels_of_this_machine();
  return kernels;
}

}  // namespace cairn::chunker
