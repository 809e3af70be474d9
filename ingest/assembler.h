// Puts a backup together, in the order of its source: sealed blobs into packs,
// chunks into lists, entries into folders.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>

#include "ingest/backup.h"
#include "ingest/batch.h"
#include "ingest/chunk_encoder.h"
#include "ingest/host_cache.h"
#include "ingest/pack_publisher.h"
#include "repo/node.h"
#include "repo/repository.h"
#include "repo/reusable_blobs.h"
#include "repo/session_keys.h"

namespace cairn::ingest {

// Threads        one thread.
class Assembler {
 public:
  // Borrows everything.
  Assembler(repo::Repository& repository, repo::ReusableBlobs& reusable,
            repo::SessionKeys& keys, const BackupOptions& options,
            const repo::SessionId& session, ClaimedBlobs& claimed,
            HostCache& cache, PackPublisher& publisher, std::stop_token stop);
  ~Assembler();

  void add(Batch& batch);

  // Stores what is left of the graph and gives the last packs away. Answers the
  // root.
  [[nodiscard]] repo::Link finish() &&;

  // Entries added, folders among them.
  [[nodiscard]] std::uint64_t entries() const noexcept;

  // Of files that were read and held before.
  struct ReadFiles {
    std::uint64_t changed = 0;  // in content or metadata
    std::uint64_t unmodified = 0;
  };
  [[nodiscard]] const ReadFiles& read_files() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
