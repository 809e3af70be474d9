#include "crypto/sha256_lanes.h"

#include <cassert>
#include <vector>

#include "crypto/sha256_avx512.h"
#include "crypto/sha256_round_constants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace cairn::crypto {

#if defined(__x86_64__)
namespace {

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
          reinterpret_cast<const __m128i*>(&kSha256RoundConstants[4 * step]));
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

constexpr std::size_t kShaLanes = 4;  // which gain little over three

void add_blocks_with_sha(std::span<Sha256Lane> lanes,
                         std::size_t count) noexcept {
  switch (lanes.size()) {
    case 1:
      return add_blocks_of(lanes.first<1>(), count);
    case 2:
      return add_blocks_of(lanes.first<2>(), count);
    case 3:
      return add_blocks_of(lanes.first<3>(), count);
    default:
      assert(lanes.size() == kShaLanes);
      return add_blocks_of(lanes.first<kShaLanes>(), count);
  }
}

// g++ 12 cannot be asked for "sha" by __builtin_cpu_supports.
bool has_sha() {
  constexpr unsigned kShaBit = 1U << 29;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & kShaBit) != 0 &&
         __builtin_cpu_supports("avx") != 0;
}

// Zen 3 and 4. Of these the latter does an instruction of 512 bits in two
// halves, and four lanes of SHA instructions are a sixth faster.
bool halves_wide_vectors() {
  constexpr unsigned kFamily = 0x19;
  constexpr unsigned kFamilyMask = 0xf;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0 || b != signature_AMD_ebx) {
    return false;
  }
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  return (a >> 8 & kFamilyMask) + (a >> 20 & 0xff) == kFamily;
}

std::vector<Sha256Kernel> kernels_of_this_machine() {
  if (!has_sha()) return {};
  std::vector<Sha256Kernel> kernels = {{"sha", kShaLanes, add_blocks_with_sha}};
  if (has_avx512_for_sha256()) {
    kernels.push_back({"avx512", kSha256Avx512Lanes, add_blocks_with_avx512});
  }
  return kernels;
}

}  // namespace

#else
namespace {

bool halves_wide_vectors() { return false; }

std::vector<Sha256Kernel> kernels_of_this_machine() { return {}; }

}  // namespace
#endif

std::span<const Sha256Kernel> sha256_kernels() noexcept {
  static const std::vector<Sha256Kernel> kernels = kernels_of_this_machine();
  return kernels;
}

namespace {

std::span<const Sha256Kernel> kernels_to_use() noexcept {
  static const std::span<const Sha256Kernel> answer = [] {
    const auto all = sha256_kernels();
    return all.size() > 1 && halves_wide_vectors() ? all.first(1) : all;
  }();
  return answer;
}

}  // namespace

std::size_t sha256_lanes() noexcept {
  return kernels_to_use().empty() ? 0 : kernels_to_use().back().lanes;
}

void add_blocks(std::span<Sha256Lane> lanes, std::size_t count) noexcept {
  assert(!lanes.empty() && lanes.size() <= sha256_lanes());
  // Sixteen lanes take the same time however many are in use: half of them is
  // no faster than two times four.
  const auto& few = kernels_to_use().front();
  if (lanes.size() <= few.lanes) return few.add_blocks(lanes, count);
  if (lanes.size() > 2 * few.lanes) {
    return kernels_to_use().back().add_blocks(lanes, count);
  }
  const std::size_t half = lanes.size() / 2;
  few.add_blocks(lanes.first(half), count);
  few.add_blocks(lanes.subspan(half), count);
}

}  // namespace cairn::crypto
