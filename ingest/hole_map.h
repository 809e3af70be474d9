// Where the content of a sparse file lies in the file.
//
//   content        AAAABBBB|CCCC         bytes that are stored, in a row
//   file      ....AAAABBBB......CCCC..   a dot is a byte of a hole
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "repo/entry.h"

namespace cairn::ingest {

class HoleMap {
 public:
  // Of an entry whose holes are ascending, apart and inside its size, as the
  // nodes of a repository guarantee.
  explicit HoleMap(const repo::Entry& entry);

  // Calls visit(Extent in the file, offset of that extent's first byte from
  // `content.offset`) for each piece, ascending.
  template <typename Visit>
  void for_each_piece(repo::Extent content, Visit visit) const {
    std::uint64_t done = 0;
    while (done < content.size) {
      const std::uint64_t at = content.offset + done;
      // Behind every hole that begins at this byte of the content or before.
      const auto next = std::ranges::upper_bound(behind_holes_, at, {},
                                                 &BehindHole::content_offset);
      std::uint64_t size = content.size - done;
      if (next != behind_holes_.end()) {
        size = std::min(size, next->content_offset - at);
      }
      std::uint64_t shift = 0;
      if (next != behind_holes_.begin()) shift = std::prev(next)->shift;
      visit(repo::Extent{at + shift, size}, done);
      done += size;
    }
  }

 private:
  struct BehindHole {
    std::uint64_t content_offset = 0;  // of the first byte behind the hole
    std::uint64_t shift = 0;           // sizes of the holes so far
  };
  std::vector<BehindHole> behind_holes_;
};

}  // namespace cairn::ingest
