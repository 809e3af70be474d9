// What a blob is: a chunk or a node of the graph as stored, named by a keyed
// hash of its plain bytes (FORMAT.md, 6.6 and 8.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "crypto/wrap.h"
#include "repo/ids.h"

namespace cairn::repo {

enum class BlobKind : std::uint8_t { content = 0, links = 1, names = 2 };

// Who may read; each has its own session keys.
enum class KeyClass : std::uint8_t { content = 0, links = 1, names = 2 };

[[nodiscard]] constexpr KeyClass class_of(BlobKind kind) noexcept {
  return static_cast<KeyClass>(kind);
}

enum class Codec : std::uint8_t {
  raw = 0,
  zstd = 1,
  zstd_to_base = 2,  // with the base as prefix
  patch = 3,         // copies from the base, and literals
};

// Whether it takes another blob, the base, to read it.
[[nodiscard]] constexpr bool is_difference(Codec codec) noexcept {
  return codec == Codec::zstd_to_base || codec == Codec::patch;
}

inline constexpr std::size_t kMaxBlobBytes = std::size_t{8} << 20;
inline constexpr unsigned kMaxDepth = 32;

// A session's sealing key for one class, wrapped for those who may read it.
struct WrappedKey {
  KeyClass key_class = KeyClass::content;
  std::uint32_t generation = 0;
  crypto::Wrapped wrapped{};

  auto operator<=>(const WrappedKey&) const = default;
};

// What a directory says of one blob.
struct BlobRow {
  BlobKind kind = BlobKind::content;
  Codec codec = Codec::raw;
  BlobId id;
  std::uint32_t plain_size = 0;   // bytes
  std::uint32_t stored_size = 0;  // bytes, tag included
  std::uint32_t key = 0;          // place in the pack's table of keys
  std::uint64_t counter = 0;
  std::optional<BlobId> base;  // present exactly for differences
  std::uint32_t depth = 0;     // 0 exactly without base

  bool operator==(const BlobRow&) const = default;
};

struct Directory {
  std::vector<WrappedKey> keys;
  std::vector<BlobRow> rows;  // in the order in which the blobs lie

  bool operator==(const Directory&) const = default;
};

// A directory and the pack it came from.
struct IndexedPack {
  PackId id;
  std::uint64_t size = 0;  // bytes of the pack
  Directory directory;

  bool operator==(const IndexedPack&) const = default;
};

}  // namespace cairn::repo
