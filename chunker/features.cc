#include "chunker/features.h"

#include <algorithm>
#include <array>

#include "chunker/candidate_kernels.h"
#include "chunker/draws.h"

namespace cairn::chunker {
namespace {

// One place in 512: some eight for every feature that is kept.
constexpr unsigned kLimitBits = 7;

// Bytes that repeat make every repetition a candidate. Of equal windows one
// counts, but they have to be hashed to know; this bounds how many are.
constexpr std::size_t kMaxWindows = 4096;

// The draw of the hash; 0 to 2 are the cutter's.
constexpr std::uint8_t kHashDraw = 3;

// Of one candidate's window. Whoever could choose windows that collide would
// only make this machine try a base in vain.
std::uint64_t hash_of(std::uint64_t seed, const std::byte* window) {
  constexpr std::uint64_t kFactor = 0xd6e8feb86659fd93U;  // Pelle Evensen's
  std::uint64_t hash = seed;
  for (std::size_t i = 0; i < kCandidateWindowBytes; i += 8) {
    hash = (hash ^ load_le64(window + i)) * kFactor;
    hash ^= hash >> 32;
  }
  hash *= kFactor;
  return hash ^ hash >> 32;
}

// Calls visit(window) for the 32 bytes before each candidate position.
template <typename Visit>
void for_each_window(const CandidateRule& rule, const CandidateKernel& kernel,
                     std::span<const std::byte> chunk, Visit visit) {
  constexpr std::size_t kBefore = kCandidateWindowBytes;
  CandidateMarks marks;
  for (std::size_t begin = 0; begin + kBefore < chunk.size();
       begin += kTileBytes - kBefore) {
    const auto tile =
        chunk.subspan(begin, std::min(kTileBytes, chunk.size() - begin));
    kernel.mark(rule, tile, marks);
    (void)any_mark(marks, kBefore, tile.size(), [&](std::size_t i) {
      visit(&tile[i + 1 - kBefore]);
      return false;
    });
  }
}

}  // namespace

struct FeatureExtractor::State {
  CandidateRule rule;
  CandidateKernel kernel;
  std::uint64_t seed;
};

FeatureExtractor::FeatureExtractor(const CutterKey& key) {
  const Draws draws(key);
  state_ = std::make_unique<State>(State{candidate_rule(draws, kLimitBits),
                                         candidate_kernels().front(),
                                         draws.at(kHashDraw)});
}

FeatureExtractor::~FeatureExtractor() = default;
FeatureExtractor::FeatureExtractor(FeatureExtractor&&) noexcept = default;
FeatureExtractor& FeatureExtractor::operator=(FeatureExtractor&&) noexcept =
    default;

std::vector<std::uint64_t> FeatureExtractor::features_of(
    std::span<const std::byte> chunk) const {
  const std::size_t wanted =
      std::min(kMaxFeatures, chunk.size() / kBytesPerFeature);
  std::vector<std::uint64_t> hashes;
  if (wanted == 0) return hashes;
  constexpr std::size_t kExpected = 192;  // in a chunk of 64 KiB: 128
  hashes.reserve(kExpected);
  for_each_window(
      state_->rule, state_->kernel, chunk, [&](const std::byte* window) {
        const std::uint64_t hash = hash_of(state_->seed, window);
        const bool repeats = !hashes.empty() && hashes.back() == hash;
        if (!repeats && hashes.size() < kMaxWindows) {
          hashes.push_back(hash);
        }
      });
  std::ranges::sort(hashes);
  const auto repeated = std::ranges::unique(hashes);
  hashes.erase(repeated.begin(), repeated.end());
  if (hashes.size() > wanted) hashes.resize(wanted);
  return hashes;
}

}  // namespace cairn::chunker
