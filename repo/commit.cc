#include "repo/commit.h"

#include "repo/error.h"

namespace cairn::repo {
namespace {

// As it was noted down, unless the series has a later snapshot of this host:
// then that could not be, or the note is of another time.
ChainLink last_link(Repository& repository, const HostState::ChainLock& chain,
                    const SeriesTag& series,
                    std::span<const ValidSnapshot> valid) {
  ChainLink last = chain.last();
  const auto& own_key = repository.signer().chain().host_key;
  for (const auto& [snapshot, holds] : valid) {
    if (snapshot.header.series_tag == series &&
        snapshot.signer.host_key == own_key &&
        snapshot.header.sequence >= last.sequence) {
      last = {snapshot.header.sequence + 1,
              object_digest(repository.storage(), snapshot.id)};
    }
  }
  return last;
}

}  // namespace

std::optional<std::string> commit_snapshot(
    Repository& repository, HostState::ChainLock& chain, Session& session,
    SnapshotHeader header, const SnapshotRecord& record,
    std::span<const ValidSnapshot> valid,
    const std::function<Timestamp()>& clock) {
  header.series_tag = series_tag(repository.keyring(), record.series);
  const ChainLink last = last_link(repository, chain, header.series_tag, valid);
  header.arrival = clock();
  header.sequence = last.sequence;
  header.previous = last.object;
  const auto committed = session.commit(header, record);
  if (committed.outcome == Created::exists) {
    throw LockedError(
        "session " + session.id().brief() +
        ": was fenced off by a prune, which took it for dead; nothing was "
        "committed. Run the command again");
  }
  repository.note_seen({.series = header.series_tag,
                        .signer = repository.signer().chain().host_key,
                        .id = session.id(),
                        .sequence = header.sequence,
                        .object = committed.object_digest,
                        .epoch = session.epoch().number,
                        .arrival = {header.arrival.seconds, 0}});
  try {
    chain.store({header.sequence + 1, committed.object_digest});
  } catch (const Error& e) {
    // It is committed: whatever fails now is no failure of the run.
    return std::string(e.what()) +
           "; the next backup finds its place in the series from its snapshots";
  }
  return std::nullopt;
}

}  // namespace cairn::repo
