// The words that name a snapshot, and what lies inside one.
//
//   latest  latest~2      the newest, the third newest
//   1f2e3d4c              the one whose id begins so (4 digits or more)
//   @2026-11-20T14:30     the newest at or before that time; local, unless a
//                         zone follows: Z, +01:00
//   SNAP:PATH             what lies inside
//
// With a PATH, latest, latest~2 and @TIME count only the snapshots that hold it
// whole (cli/source_coverage.h) or, if there is none, all that hold it. Without
// a series named, they pass over WAL.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/output.h"
#include "cli/series.h"
#include "repo/entry.h"
#include "repo/repository.h"
#include "repo/tree_reader.h"

namespace cairn::cli {

struct SnapshotName {
  struct Latest {
    std::uint64_t skip;
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

// True for latest and what counts from it, with a path or without. Throws
// likewise.
[[nodiscard]] bool is_latest(std::string_view text);

// Whether that snapshot's tree has something at the path.
using HasPath = std::function<bool(const repo::ValidSnapshot& snapshot,
                                   std::string_view path)>;

// Looks in `history` from the newest on, no further than it must: at those of
// the series, if one is given. Throws repo::NotFound for none, or several, with
// the candidates.
[[nodiscard]] const repo::ValidSnapshot& find_snapshot(
    repo::SnapshotHistory& history, const SnapshotName& name,
    const std::optional<Series>& series, const HasPath& has_path);

// Of those that `name` counts the newest one that is newer than `found` and
// holds the path too, but not whole. Nothing: there is none.
[[nodiscard]] const repo::ValidSnapshot* find_newer_partial(
    repo::SnapshotHistory& history, const SnapshotName& name,
    const std::optional<Series>& series, const repo::ValidSnapshot& found,
    const HasPath& has_path);

// Looks at the repository, and warns of slots that cannot be read, or do not
// count, as far as it has to do with them. Both must outlive the selector.
class Context;
class SnapshotSelector {
 public:
  // `series` as --series has it.
  SnapshotSelector(Context& context, repo::Repository& repository,
                   const std::optional<std::string>& series = std::nullopt);
  SnapshotSelector(const SnapshotSelector&) = delete;
  SnapshotSelector& operator=(const SnapshotSelector&) = delete;

  // Throws repo::NotFound.
  struct Selected {
    const repo::ValidSnapshot& snapshot;
    std::string path;        // without slashes at its ends; empty: all of it
    std::string path_given;  // as it was typed
  };
  [[nodiscard]] Selected select(std::string_view text);

  // Throws repo::NotFound when the snapshot has nothing at that path.
  [[nodiscard]] repo::TreeEntry entry_at(const Selected& selected);

  // All there are, and all of the series, ascending by time. damage() is whole
  // after either.
  [[nodiscard]] std::vector<const repo::ValidSnapshot*> all();
  [[nodiscard]] std::vector<const repo::ValidSnapshot*> of_series();

  // What was met so far, each with what is wrong with it.
  [[nodiscard]] const std::vector<std::string>& damage() const noexcept {
    return damage_;
  }

  // True once an answer may have been another one, had all slots been readable.
  [[nodiscard]] bool is_in_doubt() const noexcept { return is_in_doubt_; }

 private:
  void warn_if_series_unknown();
  [[nodiscard]] bool has_path(const repo::ValidSnapshot& snapshot,
                              std::string_view path);
  void warn_of_what_is_partial(const SnapshotName& name,
                               const repo::ValidSnapshot& found);

  Output& output_;
  repo::Repository& repository_;
  std::vector<std::string> damage_;
  repo::SnapshotHistory history_;
  std::optional<Series> series_;
  bool is_in_doubt_ = false;
};

}  // namespace cairn::cli
