// Which stored chunk a new one probably resembles: the one at the same place of
// the previous state, corrected by how far the last match had moved
// (DESIGN, section 4).
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "repo/blob_reader.h"
#include "repo/node.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {

// For one content.
//
// Threads        all members from many threads.
class BaseFinder {
 public:
  // `previous` are the rows of the previous state.
  BaseFinder(repo::BlobReader blobs, std::vector<repo::Link> previous);

  struct Candidate {
    repo::BlobId id;
    std::uint64_t offset = 0;  // in the previous content
  };

  // Nothing: there is no such place, or it cannot be read.
  [[nodiscard]] std::optional<Candidate> find(std::uint64_t offset,
                                              std::uint64_t length);

  // The chunk at `offset` was similar to what lay at `previous_offset`.
  void matched(std::uint64_t offset, std::uint64_t previous_offset);

  // The chunk at `offset` is stored already. If the previous content holds it
  // near the place where it is expected, this tells how far things have moved:
  // the way back after a long insertion.
  void found(const repo::BlobId& id, std::uint64_t offset);

 private:
  void set_shift(std::uint64_t offset, std::uint64_t previous_offset);

  std::mutex mutex_;  // guards everything below
  repo::BlobReader blobs_;
  repo::StreamCursor cursor_;
  std::int64_t shift_ = 0;
};

}  // namespace cairn::ingest
