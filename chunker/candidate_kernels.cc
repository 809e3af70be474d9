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
// different answers. The last pass compares and keeps a bit for each position,
// which takes instructions that compilers do not find. Measured on one core of
// an AMD EPYC (Zen 5): 7 to 9 GB/s with AVX-512, 5 to 6 with AVX2, 3 without;
// gear, the usual rolling hash, gives 2.
//
// This file is compiled with -O3 -funroll-loops (chunker/CMakeLists.txt).
#include "chunker/candidate_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cassert>
#include <vector>

#include "chunker/siphash.h"

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
  const std::uint16_t* const before = from - half;
  for (std::size_t i = 0; i < count; ++i) {
    to[i] = static_cast<std::uint16_t>(from[i] + product(power, before[i]));
  }
}

// The hashes of 16 bytes, h16, at each position of a tile. What a kernel's last
// pass makes of them is h16[i] + a^16 h16[i - 16].
struct Halves {
  Row row;
  std::size_t count = 0;     // positions: whole vectors
  std::uint16_t factor = 0;  // a^16

  [[nodiscard]] const std::uint16_t* at(std::size_t i) {
    return row.tile() + i;
  }
};

CAIRN_PART_OF_KERNEL void hash_halves(const CandidateRule& rule,
                                      std::span<const std::byte> tile,
                                      Halves& halves) {
  assert(tile.size() <= kTileBytes);
  // Whole vectors only; the last one reaches into zeros.
  const std::size_t count = (tile.size() + kPadding - 1) / kPadding * kPadding;
  Row odd_row;
  std::fill_n(halves.row.values.begin(), kPadding, std::uint16_t{0});
  std::fill_n(odd_row.values.begin(), kPadding, std::uint16_t{0});
  std::uint16_t* const even = halves.row.tile();
  std::uint16_t* const odd = odd_row.tile();
  std::fill(even + tile.size(), even + count, std::uint16_t{0});

  const std::uint16_t a = rule.multiplier;
  const std::uint16_t a2 = product(a, a);
  const std::uint16_t a4 = product(a2, a2);
  const std::uint16_t a8 = product(a4, a4);
  hash_bytes(rule, tile, even);
  double_window(a, 1, count, even, odd);
  double_window(a2, 2, count, odd, even);
  double_window(a4, 4, count, even, odd);
  double_window(a8, 8, count, odd, even);
  halves.count = count;
  halves.factor = product(a8, a8);
}

void mark_anywhere(const CandidateRule& rule, std::span<const std::byte> tile,
                   CandidateMarks& marks) {
  Halves halves;
  hash_halves(rule, tile, halves);
  std::array<std::uint8_t, kTileBytes> is_candidate;
  for (std::size_t i = 0; i < halves.count; ++i) {
    const auto hash = static_cast<std::uint16_t>(
        *halves.at(i) + product(halves.factor, *(halves.at(i) - 16)));
    is_candidate[i] = hash < rule.limit;
  }
  constexpr std::size_t kByteBits = 8;
  for (std::size_t i = 0; i < halves.count; i += CandidateMarks::kWordBits) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < CandidateMarks::kWordBits; k += kByteBits) {
      // Gathers the lowest bits of eight bytes in the highest byte.
      constexpr std::uint64_t kGather = 0x0102040810204080;
      const std::uint64_t eight =
          load_le64(reinterpret_cast<const std::byte*>(&is_candidate[i + k]));
      word |= static_cast<std::uint32_t>(eight * kGather >> 56) << k;
    }
    marks.words[i / CandidateMarks::kWordBits] = word;
  }
}

#if defined(__x86_64__)

[[gnu::target("avx2")]] inline __m256i load(const std::uint16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// Of 16 positions from i on, all ones where the hash is `last` or less.
[[gnu::target("avx2")]] inline __m256i compare_with_avx2(Halves& halves,
                                                         __m256i factor,
                                                         __m256i last,
                                                         std::size_t i) {
  const __m256i hashes = _mm256_add_epi16(
      load(halves.at(i)), _mm256_mullo_epi16(factor, load(halves.at(i) - 16)));
  // Unsigned: what is subtracted from it, and stops at 0, leaves nothing.
  return _mm256_cmpeq_epi16(_mm256_subs_epu16(hashes, last),
                            _mm256_setzero_si256());
}

// Bits of 32 positions from i on.
[[gnu::target("avx2")]] inline std::uint32_t marks_with_avx2(Halves& halves,
                                                             __m256i factor,
                                                             __m256i last,
                                                             std::size_t i) {
  // Packing works on halves of 128 bits, which are put in order again.
  constexpr int kOrder = 0b11'01'10'00;
  const __m256i both = _mm256_permute4x64_epi64(
      _mm256_packs_epi16(compare_with_avx2(halves, factor, last, i),
                         compare_with_avx2(halves, factor, last, i + 16)),
      kOrder);
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(both));
}

[[gnu::target("avx2")]] void mark_with_avx2(const CandidateRule& rule,
                                            std::span<const std::byte> tile,
                                            CandidateMarks& marks) {
  Halves halves;
  hash_halves(rule, tile, halves);
  if (rule.limit == 0) {
    marks.words.fill(0);
    return;
  }
  const __m256i factor =
      _mm256_set1_epi16(static_cast<std::int16_t>(halves.factor));
  const __m256i last = _mm256_set1_epi16(
      static_cast<std::int16_t>(static_cast<std::uint16_t>(rule.limit - 1)));
  for (std::size_t i = 0; i < halves.count; i += CandidateMarks::kWordBits) {
    marks.words[i / CandidateMarks::kWordBits] =
        marks_with_avx2(halves, factor, last, i);
  }
}

// g++ would stay with 256 bits; clang has no such option and decides itself.
#if defined(__clang__)
#define CAIRN_AVX512 "avx512f,avx512bw,avx512vl"
#else
#define CAIRN_AVX512 "avx512f,avx512bw,avx512vl,prefer-vector-width=512"
#endif

// Bits of 32 positions from i on.
[[gnu::target(CAIRN_AVX512)]] inline std::uint32_t marks_with_avx512(
    Halves& halves, __m512i factor, __m512i limit, std::size_t i) {
  const __m512i newer = _mm512_loadu_si512(halves.at(i));
  const __m512i older = _mm512_loadu_si512(halves.at(i) - 16);
  const __m512i hashes =
      _mm512_add_epi16(newer, _mm512_mullo_epi16(factor, older));
  return _mm512_cmplt_epu16_mask(hashes, limit);
}

[[gnu::target(CAIRN_AVX512)]] void mark_with_avx512(
    const CandidateRule& rule, std::span<const std::byte> tile,
    CandidateMarks& marks) {
  Halves halves;
  hash_halves(rule, tile, halves);
  const __m512i factor =
      _mm512_set1_epi16(static_cast<std::int16_t>(halves.factor));
  const __m512i limit =
      _mm512_set1_epi16(static_cast<std::int16_t>(rule.limit));
  for (std::size_t i = 0; i < halves.count; i += CandidateMarks::kWordBits) {
    marks.words[i / CandidateMarks::kWordBits] =
        marks_with_avx512(halves, factor, limit, i);
  }
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
