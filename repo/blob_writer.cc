#include "repo/blob_writer.h"

#include <algorithm>
#include <utility>

#include "repo/error.h"
#include "repo/kept.h"
#include "repo/pack_format.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kTargetPackBytes = std::uint64_t{64} << 20;

}  // namespace

BlobWriter::BlobWriter(Repository& repository, ReusableBlobs& reusable,
                       const SessionId& session, Progress* progress,
                       OnPack on_pack)
    : repository_(repository),
      reusable_(reusable),
      progress_(progress),
      keys_(repository.keyring()),
      encoder_(repository.keyring(), keys_, {}),
      packs_(repository, session, std::move(on_pack)) {}

std::optional<std::uint32_t> BlobWriter::depth_of(BlobKind kind,
                                                  const BlobId& id) {
  const auto& rows = open_pack(kind).rows;
  if (const auto row = rows.find(id); row != rows.end()) return row->second;
  const auto chain = reusable_.chain_of(kind, id);
  if (chain.empty()) return std::nullopt;
  return chain.front().row.depth;
}

BlobId BlobWriter::store(BlobKind kind, std::span<const std::byte> plain,
                         const NextBase& next_base) {
  const MemorySum sum = memory_sum(plain);
  const BlobId id = repository_.keyring().id_of(kind, plain);
  const MemorySum id_sum = memory_sum_of(id);
  if (contains(kind, id)) return id;
  const EncodedBlob blob = encoder_.encode(kind, id, plain, next_base);
  require_unchanged(id, plain, sum);
  add(blob);
  require_unchanged(id_sum, memory_sum_of(id));
  return id;
}

BlobId BlobWriter::store(BlobKind kind, std::span<const std::byte> plain) {
  return store(kind, plain, []() -> const Base* { return nullptr; });
}

void BlobWriter::store_again(BlobKind kind, const BlobId& id,
                             std::span<const std::byte> plain) {
  add(encoder_.encode(kind, id, plain));
}

void BlobWriter::add(const EncodedBlob& blob) {
  require_unchanged(blob);
  add(blob.row, keys_.wrapped(class_of(blob.row.kind)), blob.stored, blob.sum);
}

void BlobWriter::add(const BlobRow& row, const WrappedKey& key,
                     std::span<const std::byte> stored) {
  add(row, key, stored, memory_sum(stored));
}

void BlobWriter::add(const BlobRow& row, const WrappedKey& key,
                     std::span<const std::byte> stored, const MemorySum& sum) {
  OpenPack& pack = open_pack(row.kind);
  if (!pack.writer) {
    pack.writer.emplace(repository_.storage(), repository_.keyring().newest());
  }
  pack.writer->add(row, key, stored, sum);
  pack.rows.insert_or_assign(row.id, row.depth);
  ++blobs_;
  if (pack.writer->size_if_finished() >= kTargetPackBytes ||
      pack.writer->blob_count() >= kMaxRows) {
    finish(pack);
  }
}

void BlobWriter::finish() {
  finish(content_);
  finish(nodes_);
  packs_.finish();
}

BlobWriter::OpenPack& BlobWriter::open_pack(BlobKind kind) {
  return kind == BlobKind::content ? content_ : nodes_;
}

void BlobWriter::finish(OpenPack& pack) {
  if (!pack.writer) return;
  IndexedPack finished = std::move(*pack.writer).finish();
  pack.writer.reset();
  pack.rows.clear();
  if (progress_ != nullptr) progress_->bytes_stored += finished.size;
  packs_.add(std::move(finished));
}

}  // namespace cairn::repo
