#include "ingest/chunk_encoder.h"

#include <utility>
#include <variant>

#include "repo/base_chain.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

// Every level costs a restore one more decoding; past this a difference is
// taken to the root of the chain (docs/decisions: chains of differences).
constexpr std::uint32_t kMaxChainDepth = 8;

// Below this a difference saves less than its longer row costs.
constexpr std::size_t kMinDifferenceBytes = 1024;

// Whether a difference is so small that the two must be states of one thing,
// and not merely text of one kind.
bool is_close(const repo::EncodedBlob& blob) {
  constexpr std::uint32_t kShare = 16;
  return blob.row.base && blob.row.stored_size <= blob.row.plain_size / kShare;
}

}  // namespace

bool ClaimedBlobs::claim(const repo::BlobId& id) {
  std::lock_guard lock(mutex_);
  return claimed_.insert(id).second;
}

void ClaimedBlobs::now_indexed(const repo::IndexedPack& pack) {
  std::lock_guard lock(mutex_);
  for (const auto& row : pack.directory.rows) claimed_.erase(row.id);
}

ChunkEncoder::ChunkEncoder(repo::Repository& repository,
                           repo::SessionKeys& keys,
                           const repo::CompressionLevels& levels,
                           ClaimedBlobs& claimed, ChunkCounts& counts,
                           repo::Progress& progress, Reuse reuse)
    : keyring_(repository.keyring()),
      index_(repository.index()),
      blobs_(repository.blobs()),
      encoder_(repository.keyring(), keys, levels),
      claimed_(claimed),
      counts_(counts),
      progress_(progress),
      can_read_content_(repository.keyring().can_read(repo::KeyClass::content)),
      reuse_(reuse) {}

void ChunkEncoder::encode(Batch& batch) {
  for (auto& event : batch.events) {
    if (auto* const chunk = std::get_if<Chunk>(&event)) encode(*chunk);
  }
}

void ChunkEncoder::encode(Chunk& chunk) {
  ++counts_.chunks;
  chunk.id = keyring_.id_of(repo::BlobKind::content, chunk.plain);
  const bool may_have_base = chunk.bases && can_read_content_ &&
                             chunk.plain.size() >= kMinDifferenceBytes;
  if (is_stored(chunk.id) || !claimed_.claim(chunk.id)) {
    if (may_have_base) chunk.bases->found(chunk.id, chunk.offset);
    return;
  }
  ++counts_.chunks_new;
  counts_.bytes_new += chunk.plain.size();
  progress_.bytes_new += chunk.plain.size();

  std::optional<BaseFinder::Candidate> candidate;
  if (may_have_base) {
    candidate = chunk.bases->find(chunk.offset, chunk.plain.size());
  }
  std::optional<LoadedBase> loaded;
  if (candidate) loaded = load_base(candidate->id);
  const std::size_t room = chunk.plain.size() / 2;
  if (loaded && loaded->chain_bytes < room) {
    chunk.encoded = encoder_.encode(
        repo::BlobKind::content, chunk.id, chunk.plain, loaded->base,
        room - static_cast<std::size_t>(loaded->chain_bytes));
    if (chunk.encoded->row.base) ++counts_.differences;
    if (is_close(*chunk.encoded)) {
      chunk.bases->matched(chunk.offset, candidate->offset);
    }
    return;
  }
  chunk.encoded = encoder_.encode(repo::BlobKind::content, chunk.id,
                                  chunk.plain, std::nullopt, 0);
}

bool ChunkEncoder::is_stored(const repo::BlobId& id) const {
  if (reuse_ == Reuse::what_is_indexed) return index_.contains(id);
  return repo::is_decodable(index_, repo::BlobKind::content, id);
}

std::optional<ChunkEncoder::LoadedBase> ChunkEncoder::load_base(
    const repo::BlobId& id) {
  // The copies come by depth: the first is the shallowest.
  const auto shallowest =
      [&](const repo::BlobId& blob,
          std::uint32_t below) -> std::optional<repo::BlobCopy> {
    for (auto& copy : index_.find(blob)) {
      const bool fits =
          copy.row.kind == repo::BlobKind::content && copy.row.depth < below;
      if (fits) return std::move(copy);
    }
    return std::nullopt;
  };
  try {
    auto base = shallowest(id, repo::kMaxDepth);
    if (!base) return std::nullopt;
    std::uint64_t chain_bytes = 0;
    auto link = base;
    while (link && link->row.base) {
      chain_bytes += link->row.stored_size;
      link = shallowest(*link->row.base, link->row.depth);
    }
    if (!link) return std::nullopt;  // broken further down
    if (base->row.depth >= kMaxChainDepth) {
      base = std::move(link);
      chain_bytes = 0;
    }
    LoadedBase loaded;
    loaded.plain = blobs_.read_copy(*base, repo::VerifyId::no);
    loaded.base = {base->row.id, base->row.depth, *loaded.plain};
    loaded.chain_bytes = chain_bytes;
    return loaded;
  } catch (const repo::Error&) {
    return std::nullopt;  // damaged: a new chunk leans on nothing that is
  }
}

}  // namespace cairn::ingest
