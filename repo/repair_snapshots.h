// Makes snapshots without what is lost, beside those that miss it.
//
//   damaged snapshot --walk--> what is whole, as it is --+--> new snapshot,
//                                                        |    marked as such
//                              what is lost is named   --+
//
// A file that lacks any of its content is left out whole: a shorter one would
// look like a good one. The old snapshot stays until it is forgotten
// (docs/decisions/0027).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "repo/carry.h"
#include "repo/ids.h"
#include "repo/lost_path.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

// What a repaired snapshot carries, beside the tags that it had.
inline constexpr std::string_view kRepairedTag = "repaired";

struct SnapshotRepairOptions {
  std::function<Timestamp()> clock;
  Carry carry = Carry::out;
};

struct RepairedSnapshot {
  SessionId source;
  std::optional<SessionId> made;  // nothing: only planned, or nothing is left
  bool was_made_before = false;
  std::uint64_t left_out = 0;  // paths
};

struct SnapshotRepair {
  std::uint64_t snapshots_read = 0;
  std::vector<RepairedSnapshot> snapshots;  // that miss something
  LostPaths lost;
  // Slots and marks that cannot be read. What a slot held nobody can tell: no
  // other object says which root it named, or of what series it was.
  std::vector<std::string> damage;
  std::vector<std::string> warnings;
};

// Reads nodes, and looks for contents in the index; what that lacks it tries to
// read. So contents that are damaged in packs that the index names are found
// only once repair_packs() has taken these out.
//
// One session, and one commit, for each new snapshot. A second run makes none
// of what was repaired already, nor does one at the same time on this host; on
// two hosts, which share no lock, both may make one in the same moment. Throws
// WrongKey for any role but the owner's; CorruptionError where something that
// is needed lies in packs alone that prune is about to remove.
[[nodiscard]] SnapshotRepair repair_snapshots(
    Repository& repository, const SnapshotRepairOptions& options,
    std::stop_token stop, Progress* progress);

}  // namespace cairn::repo
