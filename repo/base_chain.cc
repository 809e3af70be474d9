#include "repo/base_chain.h"

#include <set>
#include <utility>

namespace cairn::repo {
namespace {

// Copies below which no chain goes on, by where they lie.
using DeadEnds = std::set<std::pair<std::uint32_t, std::uint64_t>>;

// Appends the chain. Recursion is bounded by kMaxDepth: each step goes to a
// smaller depth.
bool append_chain(const BlobIndex& index, BlobKind kind, const BlobId& id,
                  Trust trust, std::uint32_t below,
                  std::vector<BlobCopy>& chain, DeadEnds& dead_ends) {
  for (BlobCopy& copy : index.find(id)) {
    if (copy.row.kind != kind || copy.row.depth >= below) continue;
    if (trust == Trust::vouched_for && !copy.is_vouched) continue;
    const std::pair place(copy.pack, copy.offset);
    if (dead_ends.contains(place)) continue;
    const std::uint32_t depth = copy.row.depth;
    const auto base = copy.row.base;
    chain.push_back(std::move(copy));
    if (!base ||
        append_chain(index, kind, *base, trust, depth, chain, dead_ends)) {
      return true;
    }
    chain.pop_back();
    dead_ends.insert(place);
  }
  return false;
}

}  // namespace

std::vector<BlobCopy> chain_of(const BlobIndex& index, BlobKind kind,
                               const BlobId& id, Trust trust) {
  std::vector<BlobCopy> chain;
  DeadEnds dead_ends;
  append_chain(index, kind, id, trust, kMaxDepth + 1, chain, dead_ends);
  return chain;
}

std::vector<BlobCopy> chain_below(const BlobIndex& index, const BlobRow& row) {
  std::vector<BlobCopy> chain;
  DeadEnds dead_ends;
  if (row.base) {
    append_chain(index, row.kind, *row.base, Trust::anything, row.depth, chain,
                 dead_ends);
  }
  return chain;
}

bool has_its_bases(const BlobIndex& index, const BlobRow& row) {
  return !row.base || !chain_below(index, row).empty();
}

bool is_decodable(const BlobIndex& index, BlobKind kind, const BlobId& id) {
  return !chain_of(index, kind, id).empty();
}

}  // namespace cairn::repo
