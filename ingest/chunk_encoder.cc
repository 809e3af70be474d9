#include "ingest/chunk_encoder.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "ingest/cutter_key.h"
#include "ingest/known_stream.h"
#include "repo/base_chain.h"
#include "repo/error.h"

namespace cairn::ingest {
bool ClaimedBlobs::claim(const repo::BlobId& id) {
  std::lock_guard lock(mutex_);
  return claimed_.insert(id).second;
}

void ClaimedBlobs::now_indexed(const repo::IndexedPack& pack) {
  std::lock_guard lock(mutex_);
  for (const auto& row : pack.directory.rows) claimed_.erase(row.id);
}

ChunkEncoder::ChunkEncoder(repo::Repository& repository,
                           repo::ReusableBlobs& reusable,
                           repo::SessionKeys& keys,
                           const repo::CompressionLevels& levels,
                           const FeatureTable& table, ClaimedBlobs& claimed,
                           ChunkCounts& counts, repo::Progress& progress)
    : keyring_(repository.keyring()),
      reusable_(reusable),
      blobs_(repository.blobs()),
      encoder_(repository.keyring(), keys, levels),
      recogniser_(known_stream_key(repository.keyring())),
      extractor_(cutter_key(repository.keyring())),
      table_(table),
      claimed_(claimed),
      counts_(counts),
      progress_(progress),
      can_read_content_(
          repository.keyring().can_read(repo::KeyClass::content)) {}

void ChunkEncoder::encode(Batch& batch) {
  for (auto& event : batch.events) {
    if (auto* const chunk = std::get_if<Chunk>(&event)) encode(*chunk);
  }
}

void ChunkEncoder::encode(Chunk& chunk) {
  ++counts_.chunks;
  if (!chunk.mac) {
    chunk.id = keyring_.id_of(repo::BlobKind::content, chunk.plain);
    if (chunk.stream) {
      chunk.mac = recogniser_.mac_of(chunk.id.bytes, chunk.plain);
    }
  }
  if (reusable_.contains(repo::BlobKind::content, chunk.id) ||
      !claimed_.claim(chunk.id)) {
    return;
  }
  ++counts_.chunks_new;
  counts_.bytes_new += chunk.plain.size();
  progress_.bytes_new += chunk.plain.size();
  encode_new(chunk);
}

void ChunkEncoder::encode_new(Chunk& chunk) {
  if (!can_read_content_) {
    chunk.encoded =
        encoder_.encode(repo::BlobKind::content, chunk.id, chunk.plain);
    return;
  }
  chunk.features = extractor_.features_of(chunk.plain);
  const auto similar = table_.find(chunk.features);
  std::size_t tried = 0;
  std::vector<LoadedBase> loaded;
  loaded.reserve(similar.size());  // the encoder holds on to its elements
  chunk.encoded = encoder_.encode(repo::BlobKind::content, chunk.id,
                                  chunk.plain, [&]() -> const repo::Base* {
                                    while (tried < similar.size()) {
                                      auto base = load_base(similar[tried++],
                                                            chunk.plain.size());
                                      if (!base) continue;
                                      loaded.push_back(std::move(*base));
                                      return &loaded.back().base;
                                    }
                                    return nullptr;
                                  });
  if (loaded.empty()) return;
  if (const auto& base = chunk.encoded->row.base) {
    ++counts_.differences;
    const auto chosen = std::ranges::find(
        loaded, *base, [](const LoadedBase& one) { return one.base.id; });
    chunk.descent = std::move(chosen->descent);
  } else {
    chunk.descent = std::move(loaded.front().descent);
    chunk.descent.bases.clear();  // it begins the lineage anew
  }
}

std::optional<ChunkEncoder::LoadedBase> ChunkEncoder::load_base(
    LineageNumber lineage, std::size_t plain_size) {
  try {
    auto descent = table_.descent_from(lineage);
    if (!descent) return std::nullopt;
    const repo::BlobId& id = descent->bases.front().id;
    const auto chain = reusable_.chain_of(repo::BlobKind::content, id);
    if (chain.empty() || chain.front().row.depth >= repo::kMaxDepth) {
      return std::nullopt;
    }
    std::uint64_t differences = 0;
    for (const auto& copy : chain) {
      if (copy.row.base) differences += copy.row.stored_size;
    }
    // All differences of a chain together, or reading it costs more than it
    // saves (DESIGN, section 4).
    const std::uint64_t room = plain_size / 2;
    if (differences >= room) return std::nullopt;
    LoadedBase loaded;
    loaded.plain = blobs_.read_chain(chain);
    loaded.base = {
        .id = id,
        .depth = chain.front().row.depth,
        .plain = *loaded.plain,
        .max_stored = static_cast<std::uint32_t>(room - differences)};
    loaded.descent = std::move(*descent);
    return loaded;
  } catch (const repo::Error&) {
    return std::nullopt;  // damaged: a new chunk leans on nothing that is
  }
}

}  // namespace cairn::ingest
