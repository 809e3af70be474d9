// From plain bytes to stored ones and back: codec, then seal (FORMAT.md, 6.6).
//
// Whatever is encoded is at once opened, decoded and compared with the input,
// before anything can come to rely on it. A broken compressor, a bit that
// flipped in memory, a wrong key: all are found while the source is still
// there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "repo/blob.h"
#include "repo/compression.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/session_keys.h"

namespace cairn::repo {

// A blob that the next one may be written as a difference to.
struct Base {
  BlobId id;
  std::uint32_t depth = 0;
  std::span<const std::byte> plain;  // borrowed
};

// Ready to be put into a pack. row.key is not set yet: only the pack knows it.
struct EncodedBlob {
  BlobRow row;
  std::vector<std::byte> stored;
};

// zstd levels for plain blobs and for differences.
struct CompressionLevels {
  int plain = 3;
  int difference = 1;
};

// Threads        one thread at a time; each worker has its own.
class BlobEncoder {
 public:
  // Borrows both.
  BlobEncoder(const Keyring& keyring, SessionKeys& keys,
              const CompressionLevels& levels);

  // Stores `plain`, whose id is `id`, in the smallest way: as it is,
  // compressed, or, when a base is given and the difference is at most
  // `max_difference` bytes and smaller, as that.
  //
  // Requires: plain.size() in 1..kMaxBlobBytes, base->depth < kMaxDepth.
  // Throws CorruptionError when the result does not read back.
  [[nodiscard]] EncodedBlob encode(BlobKind kind, const BlobId& id,
                                   std::span<const std::byte> plain,
                                   const std::optional<Base>& base,
                                   std::size_t max_difference);

 private:
  // Sets codec, base and depth. The result points into `plain` or a buffer.
  [[nodiscard]] std::span<const std::byte> compress(
      BlobRow& row, std::span<const std::byte> plain,
      const std::optional<Base>& base, std::size_t max_difference);

  const Keyring& keyring_;
  SessionKeys& keys_;
  Compressor plain_;
  Compressor difference_;
  Decompressor decompressor_;
  std::vector<std::byte> packed_;  // these are reused between blobs
  std::vector<std::byte> difference_room_;
  std::vector<std::byte> opened_;
  std::vector<std::byte> decoded_;
};

// Threads        one thread at a time; each worker has its own.
class BlobDecoder {
 public:
  // Opens and decodes. `base` is the base's plain bytes, empty without one.
  // Throws CorruptionError, naming the blob; does not compare ids, which costs
  // as much again and which the caller may not need: the seal binds the id.
  void decode(const FamilyId& family, std::uint32_t generation,
              const crypto::Secret& key, const BlobRow& row,
              std::span<const std::byte> stored,
              std::span<const std::byte> base, std::vector<std::byte>& plain);

 private:
  Decompressor decompressor_;
  std::vector<std::byte> opened_;
};

}  // namespace cairn::repo
