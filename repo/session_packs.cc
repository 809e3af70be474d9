#include "repo/session_packs.h"

#include <utility>

#include "repo/error.h"

namespace cairn::repo {
namespace {

// A crash costs at most the packs that no index object names: they are stored
// again.
constexpr std::size_t kPacksPerIndexObject = 16;

}  // namespace

SessionPacks::SessionPacks(Repository& repository, const SessionId& session,
                           OnPack on_pack)
    : repository_(repository),
      on_pack_(std::move(on_pack)),
      index_(repository.storage(), repository.keyring(), repository.signer(),
             session) {
  index_.begin(Assurance::by(repository.keyring()));
}

void SessionPacks::add(IndexedPack pack) {
  bytes_ += pack.size;
  repository_.index().add(pack);
  if (on_pack_) on_pack_(pack);
  const std::size_t published = index_.published().size();
  index_.add(std::move(pack));
  if (++unnamed_ >= kPacksPerIndexObject) index_.finish();
  if (index_.published().size() == published) return;
  unnamed_ = 0;
  move_rows_to_cache();
}

void SessionPacks::finish() { index_.finish(); }

void SessionPacks::move_rows_to_cache() {
  try {
    repository_.index().refresh(repository_.storage(), repository_.keyring());
  } catch (const Error&) {
    // Another process is writing to the cache, its disk is full, it was
    // deleted: the rows stay in memory. What is wrong with the repository, the
    // next write to it tells.
  }
}

}  // namespace cairn::repo
