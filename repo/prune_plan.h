// What a prune would do: which packs no snapshot needs any more, which are
// worth writing anew, what of the forgotten can be settled. Reads and decides;
// prune.h acts.
//
//   snapshots, marks --> roots --walk--> live rows --+
//   packs --> survey of all directories -------------+--> fates of the packs
//   index objects --> compared with the survey: which packs are verified
//
// Of a blob's copies a verified one stays. Where there is none, all stay: a
// write key may have stored false ones, and who deletes need not be able to
// read them.
//
// Whoever deletes must have read everything first: a snapshot, a mark, a node,
// a directory or an index object that cannot be read throws CorruptionError (or
// UnsupportedFormat, when a newer program wrote it), and there is no plan. But
// a pack whose directory is damaged, and which no index object names, counts as
// absent: there is a plan if no snapshot misses anything without it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "repo/entry.h"
#include "repo/epoch.h"
#include "repo/ids.h"
#include "repo/pack_fates.h"
#include "repo/pack_reader.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

struct PlannedPack {
  PackId id;
  std::uint64_t size = 0;        // bytes of the pack
  std::uint64_t blob_bytes = 0;  // of them, blobs
  bool holds_content = false;
  bool is_verified = false;
  PackVerdict verdict;
};

// An index object and what it names, to know which of them still serve.
struct PlannedIndex {
  IndexId id;
  std::uint64_t rows = 0;
  Assurance assurance = {};
  std::vector<PackId> packs;
};

// Packs and bytes of packs.
struct PackSum {
  std::uint64_t packs = 0;
  std::uint64_t bytes = 0;
};

struct PrunePlan {
  std::vector<PlannedPack> packs;          // by id
  std::vector<std::size_t> removal_order;  // places of those to remove first
  std::vector<std::size_t> last_order;     // and of the others that go
  // Those that may go, have no directory that can be read, and are named by no
  // index object: repair took them out. Nothing is known of what they hold, but
  // that no snapshot needs it.
  std::vector<StoredPack> unreadable;
  std::uint64_t epoch = 0;            // the newest when the packs were listed
  std::vector<SessionId> slots;       // of forgotten snapshots, and void ones
  std::vector<SessionId> tombstones;  // of sessions that are registered no more
  // Forgotten, and held since: they stay whole until the hold is over.
  std::vector<SessionId> held_slots;
  std::vector<MarkId> marks;     // settled, in the order in which they go
  std::vector<SessionId> roots;  // snapshots that stay whole, ascending
  std::uint64_t snapshots = 0;   // valid ones

  // For people.
  PackSum kept;
  PackSum removed;
  PackSum repacked;
  PackSum unverified;                 // of those kept
  std::uint64_t bytes_rewritten = 0;  // blobs that move
  std::uint64_t bytes_used = 0;       // blobs needed afterwards
  std::uint64_t bytes_unused = 0;     // blobs kept that nothing needs
  // Of the packs for which there was no room: the least that moves at once.
  std::optional<std::uint64_t> least_beyond_room;
  // About: the size of new packs is not known before they are written.
  [[nodiscard]] std::uint64_t bytes_freed() const noexcept;
};

// The first mark: what might go. For a dry run `as_if_forgotten` besides what
// is. What earlier epochs doomed counts as gone. Throws Cancelled.
[[nodiscard]] PrunePlan plan_prune(
    Repository& repository, const PruneOptions& options, const Timestamp& now,
    std::stop_token stop, Progress* progress,
    std::span<const SessionId> as_if_forgotten = {});

// The second mark: what of the condemned packs does go. Of these a copy serves
// only where there is no other. Requires: every session older than the
// condemnation took its slot, or never will.
[[nodiscard]] PrunePlan plan_doom(Repository& repository,
                                  const Epoch& condemnation,
                                  const Timestamp& now, std::stop_token stop,
                                  Progress* progress);

// What a mark begins with: slots, roots and marks, and nothing of packs.
[[nodiscard]] PrunePlan read_roots(Repository& repository,
                                   const Timestamp& now);

// Every index object. Throws as read_index() does.
[[nodiscard]] std::vector<PlannedIndex> read_index_contents(
    const Storage& storage, const Keyring& keyring);

// Which index objects serve no more once just the `remaining` packs are left,
// and which packs new ones have to name. Small ones are merged once they are
// many. No pack gains or loses an assurance, but for one that is verified for
// everyone: that need not be said for single keys too.
struct IndexChange {
  struct ToName {
    Assurance assurance;
    std::vector<PackId> packs;
  };
  std::vector<IndexId> removed;
  std::vector<IndexId> serving;  // that stay
  std::vector<ToName> to_name;
};
[[nodiscard]] IndexChange plan_index_change(
    std::span<const PlannedIndex> indexes,
    const std::vector<PackId>& remaining);  // sorted

}  // namespace cairn::repo
