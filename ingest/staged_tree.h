// The entries of a tree that came in any order, until it is known that they may
// be had: then they go to the TreeWriter in the order that this wants. Content
// is stored by then; what waits here is some 500 bytes for each entry.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "repo/entry.h"
#include "repo/kept.h"
#include "repo/node.h"
#include "repo/tree_writer.h"

namespace cairn::ingest {

// Threads        one thread at a time.
class StagedTree {
 public:
  // Requires: `path` is made of valid names, the last one the entry's.
  void add(std::string path, const repo::Entry& entry,
           std::span<const repo::Link> rows);

  // Gives all of them to `tree`, below its current folder, and folders that
  // nobody described, as private ones of who owns the entry below. Answers how
  // many entries these were. Throws repo::Error when two have one path, or one
  // lies below what is no folder.
  std::uint64_t give_to(repo::TreeWriter& tree) &&;

 private:
  struct Staged {
    std::string path;
    repo::Entry entry;
    repo::Kept<repo::Link> rows;
  };
  std::vector<Staged> entries_;
};

}  // namespace cairn::ingest
