// Reads a pack's directory from the pack itself, without the index.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "repo/blob.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// A directory with the place where the blobs end.
struct PackDirectory {
  IndexedPack pack;
  std::uint64_t directory_offset = 0;
};

// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] PackDirectory read_pack_directory(const Storage& storage,
                                                const Keyring& keyring,
                                                const PackId& id);

// Every pack the storage holds, with its size, in the order of their names.
// Names that are none are passed to `stranger`.
struct StoredPack {
  PackId id;
  std::uint64_t size = 0;

  auto operator<=>(const StoredPack&) const = default;
};
[[nodiscard]] std::vector<StoredPack> list_packs(
    const Storage& storage,
    const std::function<void(const std::string&)>& stranger = {});

}  // namespace cairn::repo
