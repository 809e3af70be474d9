// The end of a writer's session: its snapshot takes its place in the series.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "repo/entry.h"
#include "repo/host_state.h"
#include "repo/repository.h"
#include "repo/session.h"
#include "repo/snapshot.h"

namespace cairn::repo {

// Takes the session's slot, with sequence, predecessor and arrival filled in;
// `chain` is locked for the series of the record, which is where it belongs.
// `valid` are the snapshots that there are, `clock` says when it arrives.
//
// Nothing went wrong after the commit, or what it answers, which is no failure.
// Throws LockedError when the session was fenced off: nothing is stored then.
std::optional<std::string> commit_snapshot(
    Repository& repository, HostState::ChainLock& chain, Session& session,
    SnapshotHeader header, const SnapshotRecord& record,
    std::span<const ValidSnapshot> valid,
    const std::function<Timestamp()>& clock);

}  // namespace cairn::repo
