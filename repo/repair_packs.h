// Takes what is good out of damaged packs, and the packs out of the index.
//
//   damaged pack --open, decode, compare--> good blobs, sealed as they are --+
//   sister repository --compare-----------> blobs that are lost here --------+
//                                                                            |
//   index objects without the damaged packs <-- index objects <-- new packs <+
//
// A pack that no index object names counts for nobody who writes: what only it
// holds is stored anew by the next backup that meets it. A sound one, as
// whoever was cut short leaves it, is named. Nothing is deleted; the damaged
// pack goes with the next prune that finds nothing needed in it
// (docs/decisions/0025).
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/carry.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/lost_path.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

struct PackRepairOptions {
  // These, and those that no index object names; none: all that are there.
  std::vector<PackId> packs;
  Repository* from = nullptr;  // a sister, to take lost blobs from
  Timestamp now;
  unsigned threads = 2;  // that read packs
  Carry carry = Carry::out;
};

struct RepairedPack {
  PackId id;
  std::string what;  // is wrong with it
  std::uint64_t blobs = 0;
  std::uint64_t good_blobs = 0;
};

struct PackRepair {
  std::uint64_t packs_read = 0;
  std::vector<RepairedPack> packs;  // damaged ones
  // Sound ones that no index object named, as who is cut short leaves them.
  std::uint64_t packs_named = 0;
  std::uint64_t blobs_moved = 0;    // that were nowhere else
  std::uint64_t blobs_fetched = 0;  // from the sister
  std::uint64_t bytes_stored = 0;   // of new packs
  std::uint64_t blobs_lost = 0;     // that snapshots need
  LostPaths lost;                   // where they need them
  // Of snapshots that could not be judged, each with why.
  std::vector<std::string> troubles;

  // True if no snapshot misses anything.
  [[nodiscard]] bool is_whole() const noexcept {
    return blobs_lost == 0 && troubles.empty();
  }
};

// Any number of others may be at work: it is registered as a writer is.
// Wherever it is cut short, no copy of a blob is gone, and a second run goes
// on.
//
// Throws WrongKey for any role but the owner's, whose word that a blob is what
// its id names counts for everyone; std::invalid_argument when `from` is no
// sister, or a pack is not there; UnsupportedFormat, having done nothing, when
// a newer program wrote a pack or an index object.
[[nodiscard]] PackRepair repair_packs(Repository& repository,
                                      const PackRepairOptions& options,
                                      std::stop_token stop, Progress* progress);

}  // namespace cairn::repo
