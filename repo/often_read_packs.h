// The directories of packs that many chains lead through. Neighbours in a
// stream lie in one pack, and so do their bases, and the index takes some four
// microseconds for each: a month's differences would spend a tenth of their
// time on that.
#pragma once

#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "repo/blob.h"
#include "repo/blob_index.h"
#include "repo/directory_cache.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// Of one index: its numbers of packs mean nothing to another.
//
// Threads        all members from many threads.
class OftenReadPacks {
 public:
  // Nothing: ask the index, and note what it says.
  [[nodiscard]] std::optional<BlobCopy> copy_of(BlobKind kind,
                                                const BlobId& id) const;
  [[nodiscard]] std::optional<BlobCopy> base_of(const BlobRow& row) const;

  // That `index` named this copy. A pack that is named often is read often, and
  // to read its directory costs as much as to look up a tenth of its rows. One
  // whose directory cannot be read is left to the index.
  void note(const Storage& storage, const Keyring& keyring,
            const BlobIndex& index, const BlobCopy& copy);

 private:
  mutable std::shared_mutex mutex_;  // guards everything below
  std::unordered_map<std::uint32_t, unsigned> named_;  // by pack
  DirectoryCache directories_{DirectoryCache::kMostRows * 2};
};

}  // namespace cairn::repo
