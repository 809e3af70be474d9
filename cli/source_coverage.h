// How well what lies at a path of a snapshot was read, by what the snapshot
// says of its sources.
//
// Those count that lie in the path, or it in them; the worst decides. One that
// failed has nothing in the snapshot: a folder above it lacks something, and
// of what would lie in it the snapshot does not speak.
//
// A record names the paths of all its sources of files in a row, and does not
// say whose each is. Where it may be of several, it counts as of each.
#pragma once

#include <string>
#include <string_view>

#include "repo/snapshot.h"

namespace cairn::cli {

// none: no source speaks of it.
enum class Coverage { none, partial, complete };
[[nodiscard]] Coverage coverage_of(const repo::Snapshot& snapshot,
                                   std::string_view path);

// Whether what the snapshot holds at `path` is all that there was to save. What
// no source speaks of may be there all the same: in the tree of a cluster, or
// where a path led through a symlink and was recorded as it was typed. It is as
// complete as the whole snapshot.
[[nodiscard]] bool is_whole(const repo::Snapshot& snapshot,
                            std::string_view path);

// Which sources are why it is not, and what each says of itself: "uploads: 1
// entry not as it should be; db: failed". Empty: none of them is.
[[nodiscard]] std::string what_it_lacks(const repo::Snapshot& snapshot,
                                        std::string_view path);

}  // namespace cairn::cli
