// Sixteen SHA-256 computations side by side, each in one element of every
// register: v[0] holds the sixteen a, w[3] the sixteen fourth words of a block.
// No lane meets another, so that this is FIPS 180-4 as it is written, but for
// two things.
//
//   blocks    come one per register and are turned round first, as a matrix of
//             sixteen by sixteen words
//   sums      are added in the order in which their parts become known: e
//             passes from round to round through a rotation, an xor and one
//             addition, and every further one would hold up all that follows.
//             Left to g++, 7.1 GB/s become 5.2.
//
// Every loop over words is unrolled, so that these arrays become registers.
#include "crypto/sha256_avx512.h"

#include <algorithm>
#include <cassert>

#include "crypto/sha256_round_constants.h"

#if defined(__x86_64__)
// g++ 12 takes what its header leaves undefined, and never uses, for a mistake.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace cairn::crypto {

#if defined(__x86_64__)
namespace {

#define CAIRN_AVX512 gnu::target("avx512f,avx512bw,avx512vl")
#define CAIRN_PART_OF_KERNEL [[CAIRN_AVX512, gnu::always_inline]] inline

// For VPTERNLOG: the answers to the bits 000 to 111, as one number.
constexpr int kXor = 0b1001'0110;
constexpr int kMajority = 0b1110'1000;
constexpr int kFirstChooses = 0b1100'1010;

CAIRN_PART_OF_KERNEL __m512i sum(__m512i a, __m512i b) {
  return _mm512_add_epi32(a, b);
}

// A sum that compilers take as it is, instead of adding what it consists of in
// an order of their own.
CAIRN_PART_OF_KERNEL __m512i kept(__m512i sum) {
  asm("" : "+v"(sum));
  return sum;
}

// FIPS 180-4, 4.1.2: the large and the small sigmas.
template <int kFirst, int kSecond, int kThird>
CAIRN_PART_OF_KERNEL __m512i rotations(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kFirst),
                                   _mm512_ror_epi32(x, kSecond),
                                   _mm512_ror_epi32(x, kThird), kXor);
}
template <int kFirst, int kSecond, int kShift>
CAIRN_PART_OF_KERNEL __m512i rotations_and_shift(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kFirst),
                                   _mm512_ror_epi32(x, kSecond),
                                   _mm512_srli_epi32(x, kShift), kXor);
}

// Round t; `v` is a to h, moved on by one place in each round.
CAIRN_PART_OF_KERNEL void make_round(__m512i (&v)[8], std::size_t t,
                                     __m512i word, std::uint32_t constant) {
  const __m512i a = v[(0 - t) % 8];
  const __m512i b = v[(1 - t) % 8];
  const __m512i c = v[(2 - t) % 8];
  __m512i& d = v[(3 - t) % 8];
  const __m512i e = v[(4 - t) % 8];
  const __m512i f = v[(5 - t) % 8];
  const __m512i g = v[(6 - t) % 8];
  __m512i& h = v[(7 - t) % 8];

  const __m512i choice = _mm512_ternarylogic_epi32(e, f, g, kFirstChooses);
  const __m512i majority = _mm512_ternarylogic_epi32(a, b, c, kMajority);
  const __m512i sigma_a = rotations<2, 13, 22>(a);
  const __m512i sigma_e = rotations<6, 11, 25>(e);
  const __m512i known =
      kept(sum(h, sum(word, _mm512_set1_epi32(static_cast<int>(constant)))));
  const __m512i but_sigma_e = kept(sum(known, choice));
  d = sum(kept(sum(sum(known, d), choice)), sigma_e);
  h = sum(kept(sum(kept(sum(but_sigma_e, sigma_e)), majority)), sigma_a);
}

// Makes of word t of the schedule the one sixteen later.
CAIRN_PART_OF_KERNEL void renew_word(__m512i (&w)[16], std::size_t t) {
  const __m512i early = rotations_and_shift<7, 18, 3>(w[(t + 1) % 16]);
  const __m512i late = rotations_and_shift<17, 19, 10>(w[(t + 14) % 16]);
  w[t] = sum(sum(w[t], early), sum(w[(t + 9) % 16], late));
}

// From register i being lane i to register i being word i.
CAIRN_PART_OF_KERNEL void transpose(__m512i (&w)[16]) {
  // Quarter q of x[4 g + k] is word 4 q + k of the lanes 4 g to 4 g + 3.
  __m512i x[16];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < 16; i += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(w[i], w[i + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(w[i], w[i + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(w[i + 2], w[i + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(w[i + 2], w[i + 3]);
    x[i] = _mm512_unpacklo_epi64(low01, low23);
    x[i + 1] = _mm512_unpackhi_epi64(low01, low23);
    x[i + 2] = _mm512_unpacklo_epi64(high01, high23);
    x[i + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
  constexpr int kEven = 0b10'00'10'00;  // quarters 0 and 2 of either
  constexpr int kOdd = 0b11'01'11'01;
#pragma GCC unroll 4
  for (std::size_t k = 0; k < 4; ++k) {
    const __m512i even01 = _mm512_shuffle_i32x4(x[k], x[4 + k], kEven);
    const __m512i odd01 = _mm512_shuffle_i32x4(x[k], x[4 + k], kOdd);
    const __m512i even23 = _mm512_shuffle_i32x4(x[8 + k], x[12 + k], kEven);
    const __m512i odd23 = _mm512_shuffle_i32x4(x[8 + k], x[12 + k], kOdd);
    w[k] = _mm512_shuffle_i32x4(even01, even23, kEven);
    w[4 + k] = _mm512_shuffle_i32x4(odd01, odd23, kEven);
    w[8 + k] = _mm512_shuffle_i32x4(even01, even23, kOdd);
    w[12 + k] = _mm512_shuffle_i32x4(odd01, odd23, kOdd);
  }
}

// The block of each lane that begins at `offset`. Sixteen streams are more than
// the processor follows by itself; it is told to fetch what lies at `ahead`.
//
// A word is renewed as soon as it is used: sixteen rounds before its next use,
// so that no round waits for it. The loop over the first 48 rounds stays one;
// unrolled it was slower.
CAIRN_PART_OF_KERNEL void add_block(__m512i (&v)[8],
                                    const std::byte* const (&from)[16],
                                    std::size_t offset, std::size_t ahead) {
  const __m512i big_endian = _mm512_broadcast_i32x4(
      _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
  __m512i w[16];
  __m512i before[8];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] =
        _mm512_shuffle_epi8(_mm512_loadu_si512(from[i] + offset), big_endian);
    _mm_prefetch(reinterpret_cast<const char*>(from[i] + ahead), _MM_HINT_T0);
  }
  transpose(w);
#pragma GCC unroll 8
  for (std::size_t i = 0; i < 8; ++i) before[i] = v[i];

#pragma GCC unroll 1
  for (std::size_t first = 0; first < 48; first += 16) {
#pragma GCC unroll 16
    for (std::size_t t = 0; t < 16; ++t) {
      make_round(v, t, w[t], kSha256RoundConstants[first + t]);
      renew_word(w, t);
    }
  }
#pragma GCC unroll 16
  for (std::size_t t = 0; t < 16; ++t) {
    make_round(v, t, w[t], kSha256RoundConstants[48 + t]);
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < 8; ++i) v[i] = sum(v[i], before[i]);
}

}  // namespace

bool has_avx512_for_sha256() noexcept {
  return __builtin_cpu_supports("avx512f") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0;
}

[[CAIRN_AVX512]] void add_blocks_with_avx512(std::span<Sha256Lane> lanes,
                                             std::size_t count) noexcept {
  assert(!lanes.empty() && lanes.size() <= kSha256Avx512Lanes);
  alignas(64) std::uint32_t words[8][16];
  const std::byte* from[16];
  for (std::size_t i = 0; i < 16; ++i) {
    // What is missing computes what the first one does, for nobody.
    const Sha256Lane& lane = lanes[i < lanes.size() ? i : 0];
    for (std::size_t k = 0; k < 8; ++k) words[k][i] = lane.state.words[k];
    from[i] = lane.blocks.data();
  }

  __m512i v[8];
#pragma GCC unroll 8
  for (std::size_t k = 0; k < 8; ++k) v[k] = _mm512_load_si512(words[k]);
  for (std::size_t block = 0; block < count; ++block) {
    const std::size_t ahead = std::min(block + 4, count - 1);
    add_block(v, from, block * kSha256BlockBytes, ahead * kSha256BlockBytes);
  }
#pragma GCC unroll 8
  for (std::size_t k = 0; k < 8; ++k) _mm512_store_si512(words[k], v[k]);

  for (std::size_t i = 0; i < lanes.size(); ++i) {
    for (std::size_t k = 0; k < 8; ++k) lanes[i].state.words[k] = words[k][i];
    lanes[i].blocks = lanes[i].blocks.subspan(count * kSha256BlockBytes);
  }
}

#else

bool has_avx512_for_sha256() noexcept { return false; }
void add_blocks_with_avx512(std::span<Sha256Lane>, std::size_t) noexcept {
  assert(false);
}

#endif

}  // namespace cairn::crypto
