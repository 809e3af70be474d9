#include "repo/base_chain.h"

#include <algorithm>

namespace cairn::repo {
namespace {

// Recursion is bounded by kMaxDepth: each step goes to a smaller depth.
bool is_decodable_below(const BlobIndex& index, BlobKind kind, const BlobId& id,
                        std::uint32_t depth) {
  return std::ranges::any_of(index.find(id), [&](const BlobCopy& copy) {
    const BlobRow& row = copy.row;
    return row.kind == kind && row.depth < depth &&
           (!row.base || is_decodable_below(index, kind, *row.base, row.depth));
  });
}

}  // namespace

bool is_decodable(const BlobIndex& index, BlobKind kind, const BlobId& id) {
  return is_decodable_below(index, kind, id, kMaxDepth + 1);
}

}  // namespace cairn::repo
