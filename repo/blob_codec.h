// From plain bytes to stored ones and back: codec, then seal (FORMAT.md, 6.6).
//
// Whatever is encoded is at once opened, decoded and compared with the input,
// before anything can come to rely on it. A broken compressor, a bit that
// flipped in memory, a wrong key: all are found while the source is still
// there. A sum that is taken before goes with the blob until it is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "repo/blob.h"
#include "repo/compression.h"
#include "repo/error.h"
#include "repo/ids.h"
#include "repo/keyring.h"
#include "repo/memory_sum.h"
#include "repo/patch.h"
#include "repo/raw_bytes.h"
#include "repo/session_keys.h"

namespace cairn::repo {

// A blob that the next one may be written as a difference to.
struct Base {
  BlobId id;
  std::uint32_t depth = 0;
  std::span<const std::byte> plain;  // borrowed, until encode() returns
  // Of the difference, tag included.
  std::uint32_t max_stored = kMaxBlobBytes;
  // The share of a blob like this one that compressing it alone leaves, about:
  // spares finding out where a difference is far smaller. 0: unknown.
  double compresses_to = 0;
};

// Gives one base after another, the most promising first, and null at the end.
// Each costs time to get at, so it is asked only while there is something to
// gain.
using NextBase = std::function<const Base*()>;

// Ready to be put into a pack. row.key is not set yet: only the pack knows it.
struct EncodedBlob {
  BlobRow row;
  std::vector<std::byte> stored;
  MemorySum sum;      // of `stored`, older than its being read back
  MemorySum row_sum;  // of `row`, older than its being bound to the blob
};

// Of a blob that has been encoded: throws CorruptionError if the bytes are not
// those any more of which the sum was taken before they got their id.
void require_unchanged(const BlobId& id, std::span<const std::byte> plain,
                       const MemorySum& sum);

// Of one that is put into a pack: the same of what is said of it.
void require_unchanged(const EncodedBlob& blob);

// To be thrown where something else than a sum tells that.
[[nodiscard]] CorruptionError changed_before_encoded(const BlobId& id);

// Whether zstd tries a difference, too, that is small as a patch.
enum class AfterPatch { nothing, zstd };

// zstd levels for plain blobs and for differences (docs/decisions/0014, 0024).
struct CompressionLevels {
  int plain = 2;
  int difference = 1;
  AfterPatch after_patch = AfterPatch::nothing;
};
inline constexpr CompressionLevels kFastCompression{.plain = -1,
                                                    .difference = -1};
inline constexpr CompressionLevels kMaxCompression{
    .plain = 12, .difference = 6, .after_patch = AfterPatch::zstd};

// Undoes codecs, whatever anybody may have stored.
//
// Threads        one thread at a time; each worker has its own.
class Unpacker {
 public:
  // Makes exactly plain.size() bytes. `base` is empty without one. False: it
  // cannot be done.
  //
  // Requires: codec is not raw.
  [[nodiscard]] bool unpack(Codec codec, std::span<const std::byte> packed,
                            std::span<const std::byte> base,
                            std::span<std::byte> plain);

 private:
  Decompressor decompressor_;
  PatchDecoder patch_;
};

// Threads        one thread at a time; each worker has its own.
class BlobEncoder {
 public:
  // Borrows both.
  BlobEncoder(const Keyring& keyring, SessionKeys& keys,
              const CompressionLevels& levels);

  // Stores `plain`, whose id is `id`, in the smallest way: as it is,
  // compressed, or as a difference to one of the bases, where that is small
  // enough. If none is, `before` will do for whatever it saves: a blob that
  // readers decode anyhow, just before this one.
  //
  // Requires: plain.size() in 1..kMaxBlobBytes; of each base depth < kMaxDepth.
  // Throws CorruptionError when the result does not read back.
  [[nodiscard]] EncodedBlob encode(BlobKind kind, const BlobId& id,
                                   std::span<const std::byte> plain,
                                   const NextBase& next_base,
                                   const Base* before = nullptr);
  [[nodiscard]] EncodedBlob encode(BlobKind kind, const BlobId& id,
                                   std::span<const std::byte> plain);

 private:
  // The base to which the difference is smallest, which then lies in
  // difference_[0, difference_size_) in difference_codec_. Null: none is small
  // enough.
  [[nodiscard]] const Base* smallest_difference(
      std::span<const std::byte> plain, const NextBase& next_base);
  [[nodiscard]] bool has_smaller_difference(std::span<const std::byte> plain,
                                            const Base& base);
  [[nodiscard]] bool is_far_smaller(std::size_t plain_size,
                                    const Base& base) const;
  // In at most `room` bytes. False: it does not fit.
  [[nodiscard]] bool try_patch(std::span<const std::byte> plain,
                               const Base& base, std::size_t room);
  [[nodiscard]] bool try_zstd(std::span<const std::byte> plain,
                              const Base& base, std::size_t room);
  // attempt_ becomes difference_, if it has a size at all.
  bool take_attempt(Codec codec, std::size_t size);

  // Sets the codec and chooses the base, null for none. The result points into
  // `plain` or a buffer.
  [[nodiscard]] std::span<const std::byte> compress(
      BlobRow& row, std::span<const std::byte> plain, const Base*& base,
      const Base* before);
  void require_reads_back(const EncodedBlob& blob,
                          std::span<const std::byte> associated_data,
                          std::span<const std::byte> plain, const Base* base);

  const Keyring& keyring_;
  SessionKeys& keys_;
  Compressor plain_;
  Compressor to_base_;
  AfterPatch after_patch_;
  PatchEncoder patch_;
  Unpacker unpacker_;
  RawBytes packed_;  // these are reused between blobs
  RawBytes difference_;
  RawBytes attempt_;
  std::size_t difference_size_ = 0;
  Codec difference_codec_ = Codec::patch;
  RawBytes opened_;
  RawBytes decoded_;
};

// Threads        one thread at a time; each worker has its own.
class BlobDecoder {
 public:
  // Opens and decodes into `plain`. `base` is the base's plain bytes, empty
  // without one.
  //
  // Requires: plain.size() == row.plain_size.
  // Throws CorruptionError, naming the blob; does not compare ids, which costs
  // as much again and which the caller may not need: the seal binds the id.
  void decode(const FamilyId& family, std::uint32_t generation,
              const crypto::Secret& key, const BlobRow& row,
              std::span<const std::byte> stored,
              std::span<const std::byte> base, std::span<std::byte> plain);

 private:
  Unpacker unpacker_;
  RawBytes opened_;
};

}  // namespace cairn::repo
