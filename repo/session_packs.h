// The packs that a session has finished: this process knows them at once, the
// others once an index object names them, which is written for a few at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "repo/index_batch.h"
#include "repo/repository.h"

namespace cairn::repo {

// Threads        one thread at a time.
// Failure        IoError, OutOfSpace, CorruptionError. Packs that are named
//                stay named.
class SessionPacks {
 public:
  // Gets each pack once this process knows it.
  using OnPack = std::function<void(const IndexedPack& pack)>;

  // Borrows the repository. Each blob was read back or verified by who stores
  // it: the assurance is this role's.
  SessionPacks(Repository& repository, const SessionId& session,
               OnPack on_pack = {});

  // Requires: it is durable.
  void add(IndexedPack pack);

  // All of them are named when this returns. The rows of the last ones stay in
  // memory.
  void finish();

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  void move_rows_to_cache();

  Repository& repository_;
  OnPack on_pack_;
  IndexBatch index_;
  std::size_t unnamed_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace cairn::repo
