// The words that name a snapshot, and what lies inside one.
//
//   latest  latest~2      the newest, the third newest
//   1f2e3d4c              the one whose id begins so (4 digits or more)
//   @2026-11-20T14:30     the newest at or before that time; local, unless a
//                         zone follows: Z, +01:00
//   SNAP:PATH             what lies inside
//   latest:PATH           in the newest that holds PATH from a source that was
//                         read completely, or, if there is none, from one that
//                         was read in part
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/output.h"
#include "repo/entry.h"
#include "repo/repository.h"

namespace cairn::cli {

struct SnapshotName {
  struct Latest {
    std::optional<std::uint64_t> skip;  // nothing: no "~" was there
  };
  struct AtOrBefore {
    repo::Timestamp time;
  };
  struct IdPrefix {
    std::string digits;  // lower-case hex
  };

  std::variant<Latest, AtOrBefore, IdPrefix> which;
  std::optional<std::string> path;  // any bytes; nothing: no ":" was there
};

// Throws repo::NotFound for a text that names no snapshot in any way.
[[nodiscard]] SnapshotName parse_snapshot_name(std::string_view text);

// Whether that snapshot's tree has something at the path.
using HasPath = std::function<bool(const repo::ValidSnapshot& snapshot,
                                   std::string_view path)>;

// `snapshots` as SnapshotList has them, ascending by time; the answer lies
// there. Throws repo::NotFound for none, or several, with the candidates.
[[nodiscard]] const repo::ValidSnapshot& find_snapshot(
    const std::vector<repo::ValidSnapshot>& snapshots, const SnapshotName& name,
    const HasPath& has_path);

// How well the sources that have to do with `path`, because they lie in it or
// it in them, were read. Failed ones have nothing in the snapshot.
enum class Coverage { none, partial, complete };
[[nodiscard]] Coverage coverage_of(const repo::Snapshot& snapshot,
                                   std::string_view path);

// Looks at the repository, and warns of slots that cannot be read. Both must
// outlive the selector.
class Context;
class SnapshotSelector {
 public:
  SnapshotSelector(Context& context, repo::Repository& repository);

  // Throws repo::NotFound.
  struct Selected {
    const repo::ValidSnapshot& snapshot;
    std::string path;  // without slashes at its ends; empty: all of it
  };
  [[nodiscard]] Selected select(std::string_view text);

  [[nodiscard]] const repo::SnapshotList& list() const noexcept {
    return list_;
  }

  // True once an answer may have been another one, had all slots been readable.
  [[nodiscard]] bool is_in_doubt() const noexcept { return is_in_doubt_; }

 private:
  [[nodiscard]] bool has_path(const repo::ValidSnapshot& snapshot,
                              std::string_view path);

  Output& output_;
  repo::Repository& repository_;
  repo::SnapshotList list_;
  bool is_in_doubt_ = false;
};

}  // namespace cairn::cli
