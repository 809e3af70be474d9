// Directories of several packs in one object (FORMAT.md, 6.7): what lets a
// machine learn what is stored without reading every pack. An accelerator;
// losing all of them loses nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repo/blob.h"
#include "repo/config.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/signer.h"
#include "repo/storage.h"

namespace cairn::repo {

inline constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{32} << 20;

// A writer starts a new object when one would hold more rows than this, so that
// nobody needs much memory to read it.
inline constexpr std::size_t kRowsPerIndexObject = 65'536;

struct IndexObject {
  SessionId session;
  std::vector<IndexedPack> packs;
};

[[nodiscard]] std::string index_name(const IndexId& id);

// Seals, signs, publishes; durable when it returns.
IndexId publish_index(Storage& storage, const Keyring& keyring,
                      const Signer& signer, const IndexObject& object);

// Throws CorruptionError, NotFound, UnsupportedFormat.
[[nodiscard]] IndexObject read_index(const Storage& storage,
                                     const Keyring& keyring, const IndexId& id);

// All of them, in the order of their names.
[[nodiscard]] std::vector<IndexId> list_indexes(const Storage& storage);

// For tests and fuzzing: the plain body.
[[nodiscard]] std::vector<std::byte> encode(const IndexObject& object);
[[nodiscard]] IndexObject decode_index(std::span<const std::byte> body,
                                       std::string_view name);

}  // namespace cairn::repo
