// Moves blobs from old packs to new ones, sealed as they are: whoever collects
// need not be able to read them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "repo/index_batch.h"
#include "repo/pack_reader.h"
#include "repo/pack_writer.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

// Threads        one thread at a time.
// Abandonment    packs already written stay.
class Repacker {
 public:
  // Borrows `repository` and `index`, which learns of the new packs.
  Repacker(Repository& repository, IndexBatch& index, Progress* progress);

  // The rows marked in `moved`, in their order. Throws CorruptionError when one
  // is not what was written: a copy would hide that from whoever compares packs
  // with their names.
  void move(const PackId& id, const std::vector<bool>& moved);

  // The packs in the making become durable and are given to the index.
  void finish();

  [[nodiscard]] const std::vector<StoredPack>& written() const {
    return written_;
  }

  // Of blobs, those of packs in the making included.
  [[nodiscard]] std::uint64_t bytes_moved() const noexcept {
    return bytes_moved_;
  }

 private:
  void verify(const BlobRow& row, const WrappedKey& key,
              std::span<const std::byte> stored);
  void finish(std::optional<PackWriter>& writer);

  Repository& repository_;
  IndexBatch& index_;
  Progress* progress_;
  std::optional<PackWriter> content_;
  std::optional<PackWriter> nodes_;
  std::vector<StoredPack> written_;
  std::uint64_t bytes_moved_ = 0;
  std::vector<std::byte> stored_;  // these are reused
  std::vector<std::byte> opened_;
};

}  // namespace cairn::repo
