#include "ingest/pack_publisher.h"

#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kPacksOnTheirWay = 1;

// A crash costs at most the packs that no index object names: they are stored
// again.
constexpr std::size_t kPacksPerIndexObject = 16;

}  // namespace

PackPublisher::PackPublisher(repo::Repository& repository,
                             const repo::SessionId& session,
                             ClaimedBlobs& claimed, repo::Progress& progress)
    : repository_(repository),
      claimed_(claimed),
      progress_(progress),
      packs_(kPacksOnTheirWay),
      index_(repository.storage(), repository.keyring(), repository.signer(),
             session) {
  // The encoder read back each blob that comes here.
  index_.begin(repo::Assurance::by(repository.keyring()));
}

void PackPublisher::give(repo::PackWriter pack, std::stop_token stop) {
  if (!packs_.push(std::move(pack), std::move(stop))) {
    throw repo::Cancelled("interrupted");
  }
}

void PackPublisher::close() { packs_.close(); }

void PackPublisher::run(std::stop_token stop) {
  while (auto writer = packs_.pop(stop)) {
    repo::IndexedPack pack = std::move(*writer).finish();
    bytes_stored_ += pack.size;
    progress_.bytes_stored += pack.size;
    repository_.index().add(pack);
    claimed_.now_indexed(pack);
    const std::size_t published = index_.published().size();
    index_.add(std::move(pack));
    if (++packs_to_name_ >= kPacksPerIndexObject) index_.finish();
    if (index_.published().size() > published) {
      packs_to_name_ = 0;
      move_rows_to_cache();
    }
  }
}

void PackPublisher::finish() { index_.finish(); }

void PackPublisher::move_rows_to_cache() {
  try {
    repository_.index().refresh(repository_.storage(), repository_.keyring());
  } catch (const repo::Error&) {
    // Another process is writing to the cache, its disk is full, it was
    // deleted: the rows stay in memory. What is wrong with the repository, the
    // next write to it tells.
  }
}

}  // namespace cairn::ingest
