// Whether a blob that the index knows can be read back as far as the index can
// tell: every difference on the way to a plain copy has its base.
//
// A crash may leave a pack whose bases were in another one that never became
// durable. Whoever reuses a blob asks this first.
#pragma once

#include "repo/blob_index.h"

namespace cairn::repo {

// True if some copy of that kind is plain, or a difference to a blob that has a
// copy of strictly smaller depth of which the same is true.
[[nodiscard]] bool is_decodable(const BlobIndex& index, BlobKind kind,
                                const BlobId& id);

}  // namespace cairn::repo
