// How much a tree may hold, by the word of its snapshot's header. One with more
// is a bomb: nodes that name one child twice double on every level (FORMAT.md,
// section 6.8).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "repo/error.h"
#include "repo/snapshot.h"
#include "repo/tree_reader.h"

namespace cairn::repo {

// Counts down while a tree is walked.
class TreeBound {
 public:
  TreeBound() = default;  // none
  TreeBound(std::uint64_t entries, std::uint64_t bytes)
      : entries_left_(entries), bytes_left_(bytes) {}
  explicit TreeBound(const SnapshotHeader& header)
      : TreeBound(header.entries, header.logical_bytes) {}

  // One entry more; `path` is for the message. Throws CorruptionError.
  void count(const TreeEntry& entry, std::string_view path) {
    const std::uint64_t bytes = entry.entry.weave ? entry.entry.size
                                : has_content(entry.entry.type)
                                    ? content_size(entry.rows)
                                    : 0;
    if (entries_left_ == 0 || bytes > bytes_left_) {
      throw CorruptionError(std::string(path) +
                            ": the tree holds more than its snapshot says");
    }
    --entries_left_;
    bytes_left_ -= bytes;
  }

 private:
  std::uint64_t entries_left_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t bytes_left_ = std::numeric_limits<std::uint64_t>::max();
};

}  // namespace cairn::repo
