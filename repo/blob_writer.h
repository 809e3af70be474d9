// Stores blobs one by one: for repairs and copies, which have no pipeline
// (ingest/backup.h).
//
//   plain bytes --encode, read back--+
//                                    +--> packs --> index objects
//   sealed ones, verified by others--+
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>

#include "repo/blob_codec.h"
#include "repo/pack_writer.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/reusable_blobs.h"
#include "repo/session_keys.h"
#include "repo/session_packs.h"

namespace cairn::repo {

// What it writes is verified for whom this role's word counts.
//
// Threads        one thread at a time.
// Failure        IoError, OutOfSpace, CorruptionError: the writer is spent.
// Abandonment    packs that are published stay, as those of a backup do that
//                was cut short; the rest is gone.
class BlobWriter {
 public:
  using OnPack = SessionPacks::OnPack;

  // Borrows both. `session` is registered, and its epoch is what `reusable` was
  // made with.
  BlobWriter(Repository& repository, ReusableBlobs& reusable,
             const SessionId& session, Progress* progress, OnPack on_pack = {});

  // How many differences have to be undone to read it. Nothing: it is not
  // stored, or not so that a snapshot may rest on it.
  [[nodiscard]] std::optional<std::uint32_t> depth_of(BlobKind kind,
                                                      const BlobId& id);
  [[nodiscard]] bool contains(BlobKind kind, const BlobId& id) {
    return depth_of(kind, id).has_value();
  }

  // Unless it is stored already. The bases are as for BlobEncoder::encode(),
  // each stored here or before.
  BlobId store(BlobKind kind, std::span<const std::byte> plain,
               const NextBase& next_base);
  BlobId store(BlobKind kind, std::span<const std::byte> plain);

  // Without a base, even where it is stored already.
  void store_again(BlobKind kind, const BlobId& id,
                   std::span<const std::byte> plain);

  // As it was sealed, even twice. Requires: it was opened, decoded and compared
  // with its id, its base too; that base is stored with a smaller depth; `key`
  // is wrapped for this repository.
  void add(const BlobRow& row, const WrappedKey& key,
           std::span<const std::byte> stored);

  // All of it is durable and named by index objects when this returns.
  void finish();

  [[nodiscard]] std::uint64_t blobs() const noexcept { return blobs_; }
  [[nodiscard]] std::uint64_t bytes_stored() const noexcept {
    return packs_.bytes();  // of packs that are finished
  }

 private:
  void add(const EncodedBlob& blob);
  void add(const BlobRow& row, const WrappedKey& key,
           std::span<const std::byte> stored, const MemorySum& sum);
  struct OpenPack {
    std::optional<PackWriter> writer;
    // In it, with their depths: the index does not know them yet.
    std::unordered_map<BlobId, std::uint32_t, IdHash> rows;
  };
  OpenPack& open_pack(BlobKind kind);
  void finish(OpenPack& pack);

  Repository& repository_;
  ReusableBlobs& reusable_;
  Progress* progress_;
  SessionKeys keys_;
  BlobEncoder encoder_;
  SessionPacks packs_;
  OpenPack content_;
  OpenPack nodes_;
  std::uint64_t blobs_ = 0;
};

}  // namespace cairn::repo
