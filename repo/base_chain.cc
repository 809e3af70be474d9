#include "repo/base_chain.h"

#include <utility>

namespace cairn::repo {
namespace {

// Appends the chain. Recursion is bounded by kMaxDepth: each step goes to a
// smaller depth.
bool append_chain(const BlobIndex& index, BlobKind kind, const BlobId& id,
                  std::uint32_t below, std::vector<BlobCopy>& chain) {
  for (BlobCopy& copy : index.find(id)) {  // the shallowest first
    if (copy.row.kind != kind || copy.row.depth >= below) continue;
    const std::uint32_t depth = copy.row.depth;
    const auto base = copy.row.base;
    chain.push_back(std::move(copy));
    if (!base || append_chain(index, kind, *base, depth, chain)) return true;
    chain.pop_back();
  }
  return false;
}

}  // namespace

std::vector<BlobCopy> chain_of(const BlobIndex& index, BlobKind kind,
                               const BlobId& id) {
  std::vector<BlobCopy> chain;
  append_chain(index, kind, id, kMaxDepth + 1, chain);
  return chain;
}

std::vector<BlobCopy> chain_below(const BlobIndex& index, const BlobRow& row) {
  std::vector<BlobCopy> chain;
  if (row.base) append_chain(index, row.kind, *row.base, row.depth, chain);
  return chain;
}

bool has_its_bases(const BlobIndex& index, const BlobRow& row) {
  return !row.base || !chain_below(index, row).empty();
}

bool is_decodable(const BlobIndex& index, BlobKind kind, const BlobId& id) {
  return !chain_of(index, kind, id).empty();
}

}  // namespace cairn::repo
