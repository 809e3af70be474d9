// What a chunk has in common with its earlier states: a few features, each the
// hash of 32 bytes that lie in it somewhere. Two chunks that share features
// share the bytes around them, and the more features, the more of them.
//
// Of all places that the candidate rule of the cutter picks, one in 512, the
// features are those with the smallest hashes: a choice that depends on content
// alone, so that an edited chunk, wherever it is cut, mostly makes the same one
// (Broder 1997, bottom-k sketches; Lillibridge et al. 2009, sparse indexing).
//
// Features never leave the machine's cache: they are no part of the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "chunker/chunker.h"

namespace cairn::chunker {

// One for every 4 KiB, and never more than this.
inline constexpr std::size_t kMaxFeatures = 16;
inline constexpr std::size_t kBytesPerFeature = std::size_t{4} << 10;

// Threads        const members from many threads.
class FeatureExtractor {
 public:
  explicit FeatureExtractor(const CutterKey& key);
  ~FeatureExtractor();
  FeatureExtractor(FeatureExtractor&&) noexcept;
  FeatureExtractor& operator=(FeatureExtractor&&) noexcept;

  // The features of a chunk, ascending and different: at most
  // chunk.size() / kBytesPerFeature of them, none of one that is shorter.
  [[nodiscard]] std::vector<std::uint64_t> features_of(
      std::span<const std::byte> chunk) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::chunker
