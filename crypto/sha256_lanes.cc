#include "crypto/sha256_lanes.h"

#include <cassert>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace cairn::crypto {

#if defined(__x86_64__)
namespace {

// FIPS 180-4, 4.2.2.
alignas(16) constexpr std::array<std::uint32_t, 64> kRoundConstants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The SHA instructions keep the state as two registers, {a, b, e, f} and
// {c, d, g, h}, and make two rounds from two words of the schedule at a time
// (Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2).
//
// Every loop over lanes is unrolled, so that all these arrays become registers.
// For AVX, and with a clean upper half of the registers: with what others leave
// there every instruction of an older encoding waits for more than it needs,
// and in the pipeline this was slower than one lane.
template <std::size_t kLanes>
[[gnu::target("sha,avx")]] void add_blocks_of(
    std::span<Sha256Lane, kLanes> lanes, std::size_t count) noexcept {
  _mm256_zeroupper();
  const __m128i big_endian =
      _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef[kLanes];
  __m128i cdgh[kLanes];
  const std::byte* from[kLanes];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kLanes; ++i) {
    const auto* words =
        reinterpret_cast<const __m128i*>(lanes[i].state.words.data());
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    abef[i] = _mm_alignr_epi8(cdab, efgh, 8);
    cdgh[i] = _mm_blend_epi16(efgh, cdab, 0xf0);
    from[i] = lanes[i].blocks.data();
  }

  for (std::size_t block = 0; block < count; ++block) {
    __m128i abef_before[kLanes];
    __m128i cdgh_before[kLanes];
    __m128i schedule[kLanes][4];  // the last 16 words
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kLanes; ++i) {
      abef_before[i] = abef[i];
      cdgh_before[i] = cdgh[i];
    }
#pragma GCC unroll 16
    for (std::size_t step = 0; step < 16; ++step) {  // of four rounds
      const __m128i constants = _mm_load_si128(
          reinterpret_cast<const __m128i*>(&kRoundConstants[4 * step]));
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kLanes; ++i) {
        auto& w = schedule[i];
        if (step < 4) {
          w[step] = _mm_shuffle_epi8(
              _mm_loadu_si128(
                  reinterpret_cast<const __m128i*>(from[i] + 16 * step)),
              big_endian);
        } else {
          const __m128i newest = w[(step + 3) % 4];
          const __m128i sum = _mm_add_epi32(
              _mm_sha256msg1_epu32(w[step % 4], w[(step + 1) % 4]),
              _mm_alignr_epi8(newest, w[(step + 2) % 4], 4));
          w[step % 4] = _mm_sha256msg2_epu32(sum, newest);
        }
        const __m128i words = _mm_add_epi32(w[step % 4], constants);
        cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], words);
        abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i],
                                        _mm_shuffle_epi32(words, 0x0e));
      }
    }
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kLanes; ++i) {
      abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
      cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
      from[i] += kSha256BlockBytes;
    }
  }

#pragma GCC unroll 4
  for (std::size_t i = 0; i < kLanes; ++i) {
    auto* words = reinterpret_cast<__m128i*>(lanes[i].state.words.data());
    const __m128i feba = _mm_shuffle_epi32(abef[i], 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh[i], 0xb1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
    lanes[i].blocks = lanes[i].blocks.subspan(count * kSha256BlockBytes);
  }
}

}  // namespace

// g++ 12 cannot be asked for "sha" by __builtin_cpu_supports.
bool has_sha256_lanes() noexcept {
  static const bool answer = [] {
    constexpr unsigned kShaBit = 1U << 29;
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & kShaBit) != 0 &&
           __builtin_cpu_supports("avx") != 0;
  }();
  return answer;
}

void add_blocks(std::span<Sha256Lane> lanes, std::size_t count) noexcept {
  assert(has_sha256_lanes());
  switch (lanes.size()) {
    case 1:
      return add_blocks_of(lanes.first<1>(), count);
    case 2:
      return add_blocks_of(lanes.first<2>(), count);
    case 3:
      return add_blocks_of(lanes.first<3>(), count);
    default:
      assert(lanes.size() == kSha256Lanes);
      return add_blocks_of(lanes.first<kSha256Lanes>(), count);
  }
}

#else

bool has_sha256_lanes() noexcept { return false; }
void add_blocks(std::span<Sha256Lane>, std::size_t) noexcept { assert(false); }

#endif

}  // namespace cairn::crypto
