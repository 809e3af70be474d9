#include "repo/reusable_blobs.h"

namespace cairn::repo {

ReusableBlobs::ReusableBlobs(BlobIndex& index)
    : index_(index), era_(index.era()), misses_packs_(index.misses_packs()) {}

std::vector<BlobCopy> ReusableBlobs::chain_of(BlobKind kind,
                                              const BlobId& id) const {
  return repo::chain_of(index_, kind, id);
}

bool ReusableBlobs::contains(BlobKind kind, const BlobId& id) const {
  return !chain_of(kind, id).empty();
}

bool ReusableBlobs::has_lost_nothing_since(
    std::optional<BlobIndex::Era> era) const noexcept {
  return era && era == era_ && !misses_packs_;
}

}  // namespace cairn::repo
