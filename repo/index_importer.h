// Brings the repository's index objects into the index cache, and takes out
// what went.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "repo/index_object.h"
#include "repo/index_store.h"
#include "repo/keyring.h"
#include "repo/pack_reader.h"
#include "repo/storage.h"

namespace cairn::repo {

// Index objects that cannot be read, each with why.
using UnreadableIndexes = std::map<IndexId, std::string>;

// The index objects that are there and not known yet; forgets those that are
// gone, and packs that nothing names any more. Adds to `unreadable`, and passes
// over what is in it.
void import_indexes(IndexStore::Writer& writer, const Storage& storage,
                    const Keyring& keyring, UnreadableIndexes& unreadable);

// Packs that no index object names, by their own directories.
void import_unindexed(IndexStore::Writer& writer, const Storage& storage,
                      const Keyring& keyring,
                      const std::vector<StoredPack>& packs);

// True if such a pack has the blob.
[[nodiscard]] bool is_in_unindexed(IndexStore::Writer& writer,
                                   const BlobId& id);

}  // namespace cairn::repo
