#include "repo/blob_codec.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/kept.h"
#include "repo/pack_format.h"

namespace cairn::repo {

namespace {

// Of the plain bytes: two states of one thing, whose difference is this small,
// are near enough.
constexpr std::size_t kSmallShare = 32;

}  // namespace

bool Unpacker::unpack(Codec codec, std::span<const std::byte> packed,
                      std::span<const std::byte> base,
                      std::span<std::byte> plain) {
  assert(codec != Codec::raw);
  return codec == Codec::patch
             ? patch_.decode(packed, base, plain, decompressor_)
             : decompressor_.decompress(packed, base, plain);
}

void require_unchanged(const BlobId& id, std::span<const std::byte> plain,
                       const MemorySum& sum) {
  if (memory_sum(plain) != sum) throw changed_before_encoded(id);
}

void require_unchanged(const EncodedBlob& blob) {
  require_unchanged(blob.row_sum, memory_sum_of(blob.row));
}

CorruptionError changed_before_encoded(const BlobId& id) {
  return CorruptionError(
      "blob " + id.brief() +
      ": changed before it was encoded; the memory of this machine is failing");
}

BlobEncoder::BlobEncoder(const Keyring& keyring, SessionKeys& keys,
                         const CompressionLevels& levels)
    : keyring_(keyring),
      keys_(keys),
      plain_(levels.plain, Compressor::Use::whole),
      to_base_(levels.difference, Compressor::Use::difference),
      after_patch_(levels.after_patch) {}

const Base* BlobEncoder::smallest_difference(std::span<const std::byte> plain,
                                             const NextBase& next_base) {
  const Base* smallest = nullptr;
  difference_size_ = plain.size();
  // A better base would save less than it costs.
  while (difference_size_ > plain.size() / kSmallShare) {
    const Base* const base = next_base();
    if (base == nullptr) break;
    if (has_smaller_difference(plain, *base)) smallest = base;
  }
  return smallest;
}

bool BlobEncoder::has_smaller_difference(std::span<const std::byte> plain,
                                         const Base& base) {
  assert(base.depth < kMaxDepth);
  if (base.max_stored <= crypto::kTagBytes) return false;
  // It has to be smaller than what there is.
  const auto room = [&] {
    return std::min<std::size_t>(base.max_stored - crypto::kTagBytes,
                                 difference_size_ - 1);
  };
  const bool has_patch = try_patch(plain, base, room());
  if (has_patch && after_patch_ == AfterPatch::nothing) return true;
  return try_zstd(plain, base, room()) || has_patch;
}

bool BlobEncoder::try_patch(std::span<const std::byte> plain, const Base& base,
                            std::size_t room) {
  attempt_.resize(room);
  return take_attempt(Codec::patch, patch_.encode(plain, base.plain, attempt_));
}

bool BlobEncoder::try_zstd(std::span<const std::byte> plain, const Base& base,
                           std::size_t room) {
  attempt_.resize(room);
  return take_attempt(Codec::zstd_to_base, to_base_.compress_difference(
                                               plain, base.plain, attempt_));
}

bool BlobEncoder::take_attempt(Codec codec, std::size_t size) {
  if (size == 0) return false;
  std::swap(difference_, attempt_);
  difference_size_ = size;
  difference_codec_ = codec;
  return true;
}

// Than the blob by itself would be: then that need not be tried.
bool BlobEncoder::is_far_smaller(std::size_t plain_size,
                                 const Base& base) const {
  constexpr std::size_t kCloseShare = 16;
  constexpr double kFarShare = 0.5;  // what is alike compresses alike, about
  const auto size = static_cast<double>(difference_size_);
  return difference_size_ <= plain_size / kCloseShare &&
         (base.compresses_to == 0 ||
          size <=
              kFarShare * base.compresses_to * static_cast<double>(plain_size));
}

std::span<const std::byte> BlobEncoder::compress(
    BlobRow& row, std::span<const std::byte> plain, const Base*& base,
    const Base* before) {
  // A difference to something that is not much alike is hardly smaller than
  // the blob by itself, and makes every reader decode two.
  constexpr double kWorthADepth = 0.8;
  std::optional<std::size_t> alone;  // bytes; 0: it does not save one
  const auto compress_alone = [&] {
    packed_.resize(plain.size() - 1);
    alone = plain_.compress(plain, packed_);
  };
  if (base != nullptr && !is_far_smaller(plain.size(), *base)) {
    compress_alone();
    const std::size_t rest = *alone != 0 ? *alone : plain.size();
    if (static_cast<double>(difference_size_) >=
        kWorthADepth * static_cast<double>(rest)) {
      base = nullptr;
      difference_size_ = rest;
    }
  }
  if (base == nullptr && before != nullptr) {
    if (!alone) compress_alone();
    if (*alone != 0) difference_size_ = *alone;
    if (has_smaller_difference(plain, *before)) base = before;
  }
  if (base != nullptr) {
    row.codec = difference_codec_;
    row.base = base->id;
    row.depth = base->depth + 1;
    return std::span(difference_).first(difference_size_);
  }
  if (!alone) compress_alone();
  row.codec = *alone != 0 ? Codec::zstd : Codec::raw;
  return *alone != 0 ? std::span<const std::byte>(packed_).first(*alone)
                     : plain;
}

EncodedBlob BlobEncoder::encode(BlobKind kind, const BlobId& id,
                                std::span<const std::byte> plain) {
  return encode(kind, id, plain, [] { return nullptr; });
}

EncodedBlob BlobEncoder::encode(BlobKind kind, const BlobId& id,
                                std::span<const std::byte> plain,
                                const NextBase& next_base, const Base* before) {
  assert(!plain.empty() && plain.size() <= kMaxBlobBytes);
  EncodedBlob blob;
  const Base* base = smallest_difference(plain, next_base);
  const std::span<const std::byte> packed =
      compress(blob.row, plain, base, before);

  const KeyClass key_class = class_of(kind);
  blob.row.kind = kind;
  blob.row.id = id;
  blob.row.plain_size = static_cast<std::uint32_t>(plain.size());
  blob.row.counter = keys_.next_counter();
  blob.row.stored_size =
      static_cast<std::uint32_t>(packed.size() + crypto::kTagBytes);
  blob.row_sum = memory_sum_of(blob.row);
  const auto ad = [&] {
    return associated_data(keyring_.family(),
                           keys_.wrapped(key_class).generation, blob.row);
  };
  blob.stored.resize(blob.row.stored_size);
  crypto::seal(keys_.key(key_class), ad(), packed, blob.stored);
  blob.sum = memory_sum(blob.stored);
  require_reads_back(blob, ad(), plain, base);
  return blob;
}

void BlobEncoder::require_reads_back(const EncodedBlob& blob,
                                     std::span<const std::byte> associated_data,
                                     std::span<const std::byte> plain,
                                     const Base* base) {
  opened_.resize(blob.stored.size() - crypto::kTagBytes);
  bool reads_back = crypto::open(keys_.key(class_of(blob.row.kind)),
                                 associated_data, blob.stored, opened_);
  if (reads_back && blob.row.codec != Codec::raw) {
    decoded_.resize(plain.size());
    reads_back = unpacker_.unpack(
        blob.row.codec, opened_,
        blob.row.base ? base->plain : std::span<const std::byte>(), decoded_);
  }
  const RawBytes& result = blob.row.codec == Codec::raw ? opened_ : decoded_;
  if (!reads_back || result.size() != plain.size() ||
      std::memcmp(result.data(), plain.data(), plain.size()) != 0) {
    throw CorruptionError("blob " + blob.row.id.brief() +
                          ": does not read back as it was written; the memory "
                          "or the processor of this machine is failing");
  }
}

void BlobDecoder::decode(const FamilyId& family, std::uint32_t generation,
                         const crypto::Secret& key, const BlobRow& row,
                         std::span<const std::byte> stored,
                         std::span<const std::byte> base,
                         std::span<std::byte> plain) {
  assert(plain.size() == row.plain_size);
  const auto fail = [&](const char* what) {
    throw CorruptionError("blob " + row.id.brief() + ": " + what);
  };
  if (stored.size() != row.stored_size || stored.size() <= crypto::kTagBytes) {
    fail("has the wrong length");
  }
  const std::size_t packed_size = stored.size() - crypto::kTagBytes;
  if (packed_size > plain.size()) fail("is larger than its plain bytes");
  if (row.codec == Codec::raw && packed_size != plain.size()) {
    fail("has the wrong length");
  }
  std::span<std::byte> opened = plain;
  if (row.codec != Codec::raw) {
    opened_.resize(packed_size);
    opened = opened_;
  }
  if (!crypto::open(key, associated_data(family, generation, row), stored,
                    opened)) {
    fail("tag does not verify");
  }
  if (row.codec != Codec::raw &&
      !unpacker_.unpack(row.codec, opened, base, plain)) {
    fail("does not decompress to its plain size");
  }
}

}  // namespace cairn::repo
