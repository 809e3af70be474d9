// Copies snapshots to another repository.
//
//   sister      every blob keeps its id: sealed bytes move as they are, with
//               their session key wrapped anew; what cannot move so is decoded
//               and stored anew
//   stranger    every blob gets another id: contents are decoded and stored
//               anew, chunk by chunk, folders and lists are written anew
//
// What arrives is compared with its id before anything there rests on it. A
// copy is signed by this host, and names the snapshot that it was made from
// (FORMAT.md, 6.8; docs/decisions/0026).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/carry.h"
#include "repo/ids.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/snapshot.h"

namespace cairn::repo {

struct CopyOptions {
  std::function<Timestamp()> clock;
  Carry carry = Carry::out;
};

enum class CopyOutcome {
  copied,  // or would be
  was_there,
  failed,  // it cannot be read whole; nothing of it counts there
};

// How one that was there was told; what the last two name stands for one
// snapshot of the source only.
enum class ToldBy {
  origin,
  contents,  // and series and header, by a key that reads no records there
  header,    // alone: two with one series, time, size and count are the same
};

struct CopiedSnapshot {
  SessionId source;
  CopyOutcome outcome = CopyOutcome::copied;
  std::optional<ToldBy> told_by = std::nullopt;  // of one that was there
  std::optional<SessionId> target;  // nothing: failed, or only planned
  std::uint64_t blobs = 0;          // that were stored for it
  std::uint64_t bytes_stored = 0;   // of packs
  std::string why;                  // of one that failed
  // It had been copied before, and was forgotten there; as far as a prune has
  // left anything of that.
  bool was_forgotten = false;
};

struct CopyReport {
  bool are_sisters = false;
  std::vector<CopiedSnapshot> snapshots;  // in the order in which they came
  std::vector<std::string> damage;        // slots there that cannot be read
  std::vector<std::string> warnings;
};

// Gets each as soon as its outcome is known.
using Copied = std::function<void(const Snapshot&, const CopiedSnapshot&)>;

// One session, and one commit, for each snapshot, in the order given: ascending
// by time keeps a series in order. What is there already, by its origin (or,
// for a key that reads no records there, by its header and as far as possible
// by its contents), is left as it is; so whoever was interrupted runs it again,
// and packs that were complete by then are used. Of two at once on one host the
// second finds what the first copied; of two hosts, which share no lock, both
// may copy a snapshot within the moment between that look and the commit.
//
// Throws std::invalid_argument when both are one repository; WrongKey when
// `from` may not be read; whatever else is wrong with `to`; Cancelled.
[[nodiscard]] CopyReport copy_snapshots(
    Repository& from, Repository& to, std::span<const ValidSnapshot> snapshots,
    const CopyOptions& options, const Copied& copied, std::stop_token stop,
    Progress* progress);

}  // namespace cairn::repo
