// Which stored blobs a new snapshot may rest on.
//
// A snapshot says "0 of 64 chunks new" and is believed. So what it takes as
// stored was seen to be there, with everything it leans on.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "repo/base_chain.h"
#include "repo/blob_index.h"

namespace cairn::repo {

// For one run.
//
// Threads        all members from many threads.
class ReusableBlobs {
 public:
  // Borrows. Requires: the index is restricted to packs that exist.
  explicit ReusableBlobs(BlobIndex& index);

  // The blob with what it leans on, as repo::chain_of(). Empty: it has to be
  // stored anew.
  [[nodiscard]] std::vector<BlobCopy> chain_of(BlobKind kind,
                                               const BlobId& id) const;
  [[nodiscard]] bool contains(BlobKind kind, const BlobId& id) const;

  // To be noted down with what this run finds whole or makes.
  [[nodiscard]] std::optional<BlobIndex::Era> era() const noexcept {
    return era_;
  }

  // True if what was whole in that era is whole now: no pack went since.
  [[nodiscard]] bool has_lost_nothing_since(
      std::optional<BlobIndex::Era> era) const noexcept;

 private:
  BlobIndex& index_;
  std::optional<BlobIndex::Era> era_;
  bool misses_packs_;
};

}  // namespace cairn::repo
