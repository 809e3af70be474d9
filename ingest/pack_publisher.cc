#include "ingest/pack_publisher.h"

#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kPacksOnTheirWay = 1;

}  // namespace

PackPublisher::PackPublisher(repo::Repository& repository,
                             const repo::SessionId& session,
                             ClaimedBlobs& claimed, repo::Progress& progress)
    : progress_(progress),
      packs_(kPacksOnTheirWay),
      finished_(repository, session, [&claimed](const repo::IndexedPack& pack) {
        claimed.now_indexed(pack);
      }) {}

void PackPublisher::give(repo::PackWriter pack, std::stop_token stop) {
  if (!packs_.push(std::move(pack), std::move(stop))) {
    throw repo::Cancelled("interrupted");
  }
}

void PackPublisher::close() { packs_.close(); }

void PackPublisher::run(std::stop_token stop) {
  while (auto writer = packs_.pop(stop)) {
    repo::IndexedPack pack = std::move(*writer).finish();
    progress_.bytes_stored += pack.size;
    finished_.add(std::move(pack));
  }
}

void PackPublisher::finish() { finished_.finish(); }

}  // namespace cairn::ingest
