// The last stage of a backup: makes finished packs durable and known, away from
// the threads that compute.
#pragma once

#include <cstdint>
#include <stop_token>

#include "ingest/bounded_queue.h"
#include "ingest/chunk_encoder.h"
#include "repo/pack_writer.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/session_packs.h"

namespace cairn::ingest {

// Threads        give() from one thread, run() on another; finish() after both.
class PackPublisher {
 public:
  // Borrows all but the name of the session.
  PackPublisher(repo::Repository& repository, const repo::SessionId& session,
                ClaimedBlobs& claimed, repo::Progress& progress);

  // Hands over a pack to be finished. Waits while two are on their way, so that
  // a slow disk slows the backup and fills no memory. Throws repo::Cancelled
  // when stopping.
  void give(repo::PackWriter pack, std::stop_token stop);
  void close();

  // Publishes what is given until close().
  void run(std::stop_token stop);

  // Publishes the index object for the packs that none names yet. Nothing is
  // left to do after that but the snapshot. The rows stay in memory.
  void finish();

  [[nodiscard]] std::uint64_t bytes_stored() const noexcept {
    return finished_.bytes();
  }

 private:
  repo::Progress& progress_;
  BoundedQueue<repo::PackWriter> packs_;
  repo::SessionPacks finished_;
};

}  // namespace cairn::ingest
