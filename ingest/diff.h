// What differs between two states: two snapshots, or two paths in them.
//
// Both trees are walked in step, name by name. A folder whose node is the same
// in both is the same in all that is below it and is not read; nor are equal
// stretches of a large folder.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "repo/repository.h"
#include "repo/tree_bound.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {

enum class Change {
  added,
  removed,
  content,   // bytes, a symlink's target, a device's number; metadata maybe too
  metadata,  // owner, mode, times, xattrs only
  type,      // a file has become a folder, say
};

struct Difference {
  // From the two entries compared downwards; empty for themselves.
  const std::string& path;
  Change change;
  const repo::TreeEntry* before;  // null: added
  const repo::TreeEntry* after;   // null: removed
};

// One of the two, and what the snapshot that it is from may hold.
struct Compared {
  const repo::TreeEntry& entry;
  repo::TreeBound bound = {};
};

// Calls `visit` for each difference, in the order of the trees: a folder before
// what is in it. Of a folder that was added or removed everything below counts
// as well. Two files with the same bytes differ in content if they were cut
// differently. The numbers by which hard links know each other do not count,
// since a device's changes when the machine starts anew.
//
// Throws repo::CorruptionError and so on: with a tree that cannot be read there
// is no answer. repo::Cancelled when `stop` is requested.
void diff(repo::Repository& repository, const Compared& before,
          const Compared& after,
          const std::function<repo::Visit(const Difference&)>& visit,
          const std::stop_token& stop);

}  // namespace cairn::ingest
