// What a blob leans on: the copies that have to be decoded to get at it.
//
//   copy --base--> copy --base--> ..  --base--> plain copy
//   depth d        below d                      0
//
// A crash may leave a pack whose bases were in another one that never became
// durable. Whoever reuses a blob asks this first.
#pragma once

#include <cstdint>
#include <vector>

#include "repo/blob_index.h"

namespace cairn::repo {

// The blob's own copy first, a plain one last; each is the base of the one
// before and of strictly smaller depth. The first that there is, in the order
// of BlobIndex::find(). Empty: the index knows no copy of that kind that can be
// decoded.
[[nodiscard]] std::vector<BlobCopy> chain_of(const BlobIndex& index,
                                             BlobKind kind, const BlobId& id,
                                             Trust trust = Trust::anything);

// What the row leans on: the same of its base, for its depth. Empty also if it
// leans on nothing.
[[nodiscard]] std::vector<BlobCopy> chain_below(const BlobIndex& index,
                                                const BlobRow& row);

// True if the row is no difference, or if such a chain begins below it.
[[nodiscard]] bool has_its_bases(const BlobIndex& index, const BlobRow& row);

// True if there is such a chain.
[[nodiscard]] bool is_decodable(const BlobIndex& index, BlobKind kind,
                                const BlobId& id);

}  // namespace cairn::repo
