// Looks for damage, and goes on when it finds some.
//
//   index       every small object; the index against the list of packs
//   structure   every directory against the index; every snapshot's graph,
//               node by node; every blob and every base has a copy
//   data        every byte of every pack; every blob decoded
//
// What a level claims includes the levels before it. Nothing is locked: backups
// go on meanwhile, and when a prune removes packs that are being looked at,
// damage is looked for again before it is reported.
//
// Nothing is written, but for one thing, if it is asked for: packs that nobody
// had verified (FORMAT.md, 6.7), and in which level data found every blob to be
// what its id names, are named in index objects as verified for everyone. Only
// an owner's key can tell, and may say so.
//
// Damage never throws. What does: Cancelled, StorageUnreachable, and trouble of
// this machine, such as a cache folder that cannot be written.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "repo/entry.h"
#include "repo/finding.h"
#include "repo/pack_subset.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

enum class CheckLevel { index, structure, data };

// Whether to name packs as verified. As far as possible: what stands against it
// is a note.
enum class Vouch { no, yes };

struct CheckOptions {
  CheckLevel level = CheckLevel::structure;
  PackSubset subset = {};              // which packs level data reads whole
  std::uint64_t subset_beginning = 0;  // as select() takes it
  Timestamp now;                       // what lies later is flagged
  unsigned threads = 2;                // that read packs
  Vouch vouch = Vouch::no;
};

[[nodiscard]] CheckReport check(Repository& repository,
                                const CheckOptions& options,
                                std::stop_token stop, Progress* progress);

// Adds what no repository can tell of itself: that it shows less than this host
// saw of it (witness.h). `less` says what, in words.
void note_rollback(CheckReport& report, const std::string& less);

// What can be told without any key: packs and index objects are what their
// names say, all other objects end with their own SHA-256. Reads every byte
// (of packs, those of the subset; at level index no pack). Counts all
// snapshots, forgotten ones too.
[[nodiscard]] CheckReport check_without_key(const Storage& storage,
                                            const CheckOptions& options,
                                            std::stop_token stop,
                                            Progress* progress);

}  // namespace cairn::repo
