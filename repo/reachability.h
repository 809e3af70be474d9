// What a snapshot needs: everything that links lead to from its root
// (FORMAT.md, 6.12). Names need not be read for it.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <unordered_set>
#include <vector>

#include "repo/node.h"

namespace cairn::repo {

enum class Enter { yes, no };

struct GraphVisitor {
  // Called for the root and for every row of every node that is entered, as
  // often as it occurs. The answer counts for links nodes only: whoever says
  // `no` the second time walks shared nodes once.
  std::function<Enter(const Link&)> reach;

  // The rows of a node. Nothing: it cannot be read, the walk goes on without
  // it; whoever cannot go on throws.
  std::function<std::optional<std::vector<Link>>(const Link&)> read;
};

// Depth first, in the order of the rows. Holds one node for each level of
// nesting in memory.
void walk_graph(const Link& root, const GraphVisitor& visitor);

// Most blobs that were reached lately, in 10 MiB at most, whatever the number:
// spares walks the look-up of chunks that neighbouring snapshots share.
//
// Threads        one thread at a time.
class RecentlyReached {
 public:
  RecentlyReached();

  // False: it is not certain that it was there. True: it was.
  bool contains_or_add(const Link& link);

 private:
  struct Slot {
    BlobId id;
    BlobKind kind = BlobKind::content;
    bool is_used = false;
  };
  [[nodiscard]] Slot& slot_of(const BlobId& id);
  void grow();

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

// Links nodes seen already, for walks that have no survey of the packs to mark
// rows in. Takes about 50 bytes of memory for each.
//
// Threads        one thread at a time.
class VisitedNodes {
 public:
  // False: it was there already.
  bool add(const BlobId& id);
  [[nodiscard]] bool contains(const BlobId& id) const;

 private:
  // Ids are keyed hashes: half of one tells nodes apart, nobody without the
  // key can make two that agree.
  using Half = std::array<std::byte, BlobId::kBytes / 2>;
  struct Hash {
    std::size_t operator()(const Half& half) const noexcept;
  };
  static Half half_of(const BlobId& id);

  std::unordered_set<Half, Hash> seen_;
};

}  // namespace cairn::repo
