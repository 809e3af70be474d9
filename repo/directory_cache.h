// The rows of some packs, in memory: the index takes some four microseconds an
// answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "repo/blob.h"
#include "repo/blob_index.h"

namespace cairn::repo {

// Keeps as many packs as fit, and forgets the ones that came first.
//
// Threads        const members from many threads, while nobody adds.
class DirectoryCache {
 public:
  // Some 5 MiB.
  static constexpr std::size_t kMostRows = std::size_t{1} << 15;

  explicit DirectoryCache(std::size_t most_rows = kMostRows)
      : most_rows_(most_rows) {}

  // A pack with a number that no other one here has.
  void add(std::uint32_t number, Directory directory);
  void forget(std::uint32_t number);

  // As repo::chain_of(), of rows that are here. Empty: ask the index.
  [[nodiscard]] std::vector<BlobCopy> chain_of(BlobKind kind,
                                               const BlobId& id) const;
  // A copy of the blob; of the row's base, less deep than it. Nothing: ask the
  // index.
  [[nodiscard]] std::optional<BlobCopy> copy_of(BlobKind kind,
                                                const BlobId& id) const;
  [[nodiscard]] std::optional<BlobCopy> base_of(const BlobRow& row) const;

 private:
  struct Pack {
    std::uint32_t number = 0;
    std::vector<BlobRow> rows;
    std::vector<std::uint64_t> offsets;  // of the blobs, beside their rows
  };
  struct Place {
    std::uint64_t pack = 0;  // how many came before it
    std::uint32_t row = 0;
  };
  // Nothing: it has none that is less deep than `below`.
  [[nodiscard]] std::optional<BlobCopy> find(BlobKind kind, const BlobId& id,
                                             std::uint32_t below) const;
  void forget_rows(std::size_t i);  // of packs_[i]

  std::size_t most_rows_;
  std::deque<Pack> packs_;
  std::uint64_t forgotten_ = 0;  // packs that came before those
  std::size_t row_count_ = 0;
  // By prefix of the id; of blobs that share one, any.
  std::unordered_map<std::uint64_t, Place> places_;
};

}  // namespace cairn::repo
