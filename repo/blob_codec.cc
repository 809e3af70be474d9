#include "repo/blob_codec.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/pack_format.h"

namespace cairn::repo {

BlobEncoder::BlobEncoder(const Keyring& keyring, SessionKeys& keys,
                         const CompressionLevels& levels)
    : keyring_(keyring),
      keys_(keys),
      plain_(levels.plain),
      difference_(levels.difference) {}

std::span<const std::byte> BlobEncoder::compress(
    BlobRow& row, std::span<const std::byte> plain,
    const std::optional<Base>& base, std::size_t max_difference) {
  // A codec has to save at least one byte; the room it gets says so.
  const std::size_t room = plain.size() - 1;
  std::size_t difference = 0;
  if (base) {
    assert(base->depth < kMaxDepth);
    difference_room_.resize(std::min(max_difference, room));
    difference =
        difference_.compress_difference(plain, base->plain, difference_room_);
  }
  // A difference to something that is not much alike is hardly smaller than
  // the blob by itself, and makes every reader decode two.
  constexpr std::size_t kCloseShare = 16;
  const bool is_close =
      difference != 0 && difference <= plain.size() / kCloseShare;
  std::size_t alone = 0;
  if (!is_close) {
    packed_.resize(room);
    alone = plain_.compress(plain, packed_);
  }
  constexpr double kWorthADepth = 0.8;
  const auto alone_or_raw =
      static_cast<double>(alone != 0 ? alone : plain.size());
  if (is_close || (difference != 0 && static_cast<double>(difference) <
                                          kWorthADepth * alone_or_raw)) {
    row.codec = Codec::difference;
    row.base = base->id;
    row.depth = base->depth + 1;
    return std::span(difference_room_).first(difference);
  }
  row.codec = alone != 0 ? Codec::zstd : Codec::raw;
  return alone != 0 ? std::span<const std::byte>(packed_).first(alone) : plain;
}

EncodedBlob BlobEncoder::encode(BlobKind kind, const BlobId& id,
                                std::span<const std::byte> plain,
                                const std::optional<Base>& base,
                                std::size_t max_difference) {
  assert(!plain.empty() && plain.size() <= kMaxBlobBytes);
  EncodedBlob blob;
  blob.row.kind = kind;
  blob.row.id = id;
  blob.row.plain_size = static_cast<std::uint32_t>(plain.size());
  blob.row.counter = keys_.next_counter();

  const std::span<const std::byte> packed =
      compress(blob.row, plain, base, max_difference);

  const KeyClass key_class = class_of(kind);
  blob.row.stored_size =
      static_cast<std::uint32_t>(packed.size() + crypto::kTagBytes);
  const auto ad = associated_data(
      keyring_.family(), keys_.wrapped(key_class).generation, blob.row);
  blob.stored.resize(blob.row.stored_size);
  crypto::seal(keys_.key(key_class), ad, packed, blob.stored);

  opened_.resize(packed.size());
  bool reads_back =
      crypto::open(keys_.key(key_class), ad, blob.stored, opened_);
  if (reads_back && blob.row.codec != Codec::raw) {
    decoded_.resize(plain.size());
    reads_back = decompressor_.decompress(
        opened_, blob.row.base ? base->plain : std::span<const std::byte>(),
        decoded_);
  }
  const auto& result = blob.row.codec == Codec::raw ? opened_ : decoded_;
  if (!reads_back || !std::ranges::equal(result, plain)) {
    throw CorruptionError("blob " + id.brief() +
                          ": does not read back as it was written; the memory "
                          "or the processor of this machine is failing");
  }
  return blob;
}

void BlobDecoder::decode(const FamilyId& family, std::uint32_t generation,
                         const crypto::Secret& key, const BlobRow& row,
                         std::span<const std::byte> stored,
                         std::span<const std::byte> base,
                         std::vector<std::byte>& plain) {
  const auto fail = [&](const char* what) {
    throw CorruptionError("blob " + row.id.brief() + ": " + what);
  };
  if (stored.size() != row.stored_size || stored.size() <= crypto::kTagBytes) {
    fail("has the wrong length");
  }
  plain.resize(row.plain_size);
  auto& opened = row.codec == Codec::raw ? plain : opened_;
  opened.resize(stored.size() - crypto::kTagBytes);
  if (opened.size() > row.plain_size) fail("is larger than its plain bytes");
  if (!crypto::open(key, associated_data(family, generation, row), stored,
                    opened)) {
    fail("tag does not verify");
  }
  if (row.codec == Codec::raw) {
    if (plain.size() != row.plain_size) fail("has the wrong length");
  } else if (!decompressor_.decompress(opened_, base, plain)) {
    fail("does not decompress to its plain size");
  }
}

}  // namespace cairn::repo
