#include "ingest/chunk_encoder.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "ingest/cutter_key.h"
#include "ingest/known_stream.h"
#include "repo/base_chain.h"
#include "repo/error.h"
#include "repo/kept.h"

namespace cairn::ingest {
namespace {

// The share of a chunk that is left when it is compressed alone.
double compresses_to(const repo::BlobRow& whole) {
  return static_cast<double>(whole.stored_size) / whole.plain_size;
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
      can_read_content_(repository.keyring().can_read(repo::KeyClass::content)),
      is_first_backup_(!table.is_there()) {}

void ChunkEncoder::encode(Batch& batch) {
  name_chunks(batch);
  expected_.reset();
  neighbour_.reset();
  for (auto& event : batch.events) {
    if (auto* const chunk = std::get_if<Chunk>(&event)) {
      encode(*chunk);
    } else {
      neighbour_.reset();
    }
  }
}

void ChunkEncoder::name_chunks(Batch& batch) {
  std::vector<Chunk*> unknown;
  std::vector<std::span<const std::byte>> plains;
  for (auto& event : batch.events) {
    auto* const chunk = std::get_if<Chunk>(&event);
    if (chunk == nullptr || chunk->mac) continue;
    unknown.push_back(chunk);
    plains.push_back(chunk->plain);
  }
  keyring_.ids_of(repo::BlobKind::content, plains,
                  [&](std::size_t number, const repo::BlobId& id) {
                    unknown[number]->id = id;
                    unknown[number]->id_sum = repo::memory_sum_of(id);
                  });
}

void ChunkEncoder::encode(Chunk& chunk) {
  ++counts_.chunks;
  if (chunk.stream && !chunk.mac) {
    chunk.mac = recogniser_.mac_of(chunk.id.bytes, chunk.plain);
  }
  if (reusable_.contains(repo::BlobKind::content, chunk.id) ||
      !claimed_.claim(chunk.id)) {
    if (expected_) ++*expected_;
    return;
  }
  ++counts_.chunks_new;
  counts_.bytes_new += chunk.plain.size();
  progress_.bytes_new += chunk.plain.size();
  encode_new(chunk);
  require_unchanged(chunk);
}

void ChunkEncoder::require_unchanged(const Chunk& chunk) {
  if (chunk.sum) {
    repo::require_unchanged(chunk.id, chunk.plain, *chunk.sum);
  } else if (recogniser_.mac_of(chunk.id.bytes, chunk.plain) != *chunk.mac) {
    throw repo::changed_before_encoded(chunk.id);
  }
}

class ChunkEncoder::Bases {
 public:
  Bases(ChunkEncoder& encoder, const Chunk& chunk)
      : encoder_(encoder), chunk_(chunk) {}

  // The next one to try. Null: there is none.
  const repo::Base* next() {
    while (auto descent = next_descent()) {
      auto& loaded = encoder_.loaded_[count_];
      if (encoder_.load_base(std::move(*descent), chunk_.plain.size(),
                             loaded)) {
        ++count_;
        return &loaded.base;
      }
    }
    return nullptr;
  }

  // Those that were loaded.
  [[nodiscard]] std::span<LoadedBase> loaded() {
    return std::span(encoder_.loaded_).first(count_);
  }

 private:
  std::optional<Descent> next_descent() {
    if (const auto expected = std::exchange(encoder_.expected_, std::nullopt)) {
      auto descent = encoder_.table_.descent_from(*expected);
      if (descent && FeatureTable::is_next_state(*descent, chunk_.features)) {
        guessed_ = expected;
        return descent;
      }
    }
    if (!similar_) similar_ = encoder_.table_.find(chunk_.features);
    while (tried_ < similar_->size()) {
      const LineageNumber number = (*similar_)[tried_++];
      if (number == guessed_) continue;
      if (auto descent = encoder_.table_.descent_from(number)) return descent;
    }
    return std::nullopt;
  }

  ChunkEncoder& encoder_;
  const Chunk& chunk_;
  std::optional<LineageNumber> guessed_;
  std::optional<std::vector<LineageNumber>> similar_;
  std::size_t tried_ = 0;  // of similar_
  std::size_t count_ = 0;  // of encoder_.loaded_
};

void ChunkEncoder::encode_new(Chunk& chunk) {
  if (!can_read_content_) {
    chunk.encoded =
        encoder_.encode(repo::BlobKind::content, chunk.id, chunk.plain);
    return;
  }
  chunk.features = extractor_.features_of(chunk.plain);
  Bases bases(*this, chunk);
  const auto before = base_before(chunk);
  chunk.encoded = encoder_.encode(
      repo::BlobKind::content, chunk.id, chunk.plain,
      [&] { return bases.next(); }, before ? &*before : nullptr);
  const auto& base = chunk.encoded->row.base;
  if (base) ++counts_.differences;
  const bool leans_on_neighbour = before && base == before->id;
  if (leans_on_neighbour) {
    repo::require_unchanged(neighbour_->id_sum, repo::memory_sum_of(*base));
    ++neighbour_->leaning;
  }
  if (chunk.encoded->row.codec == repo::Codec::zstd) {
    neighbour_ = {chunk.id, chunk.id_sum, chunk.plain, chunk.part};
  }
  const auto loaded = bases.loaded();
  if (loaded.empty()) return;
  if (base && !leans_on_neighbour) {
    const auto chosen = std::ranges::find(
        loaded, *base, [](const LoadedBase& one) { return one.base.id; });
    // Between the two, the base's id was in several places.
    if (chosen == loaded.end() || chosen->descent.bases.front().id != *base) {
      throw repo::changed_before_encoded(*base);
    }
    chunk.descent = std::move(chosen->descent);
  } else {
    chunk.descent = std::move(loaded.front().descent);
    chunk.descent.bases.clear();  // it begins the lineage anew
  }
  expected_ = *chunk.descent.lineage + 1;
}

// The last chunk of the stream that resembled nothing either. That saves a
// thirtieth, and costs a reader one decoding in four chunks.
std::optional<repo::Base> ChunkEncoder::base_before(const Chunk& chunk) const {
  constexpr unsigned kMostLeaning = 3;
  // A first backup has better things to do, and more of them.
  if (is_first_backup_ || chunk.features.empty() || !neighbour_ ||
      neighbour_->part != chunk.part || neighbour_->leaning == kMostLeaning) {
    return std::nullopt;
  }
  // Half the room that a chain has, so that later states have some, too.
  return repo::Base{
      .id = neighbour_->id,
      .plain = neighbour_->plain,
      .max_stored = static_cast<std::uint32_t>(chunk.plain.size() / 4)};
}

bool ChunkEncoder::load_base(Descent descent, std::size_t plain_size,
                             LoadedBase& loaded) {
  try {
    std::vector<repo::BlobCopy> chain;
    while (!descent.bases.empty() && chain.empty()) {
      chain =
          reusable_.chain_of(repo::BlobKind::content, descent.bases.front().id);
      if (chain.empty()) descent.bases.erase(descent.bases.begin());
    }
    if (chain.empty() || chain.front().row.depth >= repo::kMaxDepth) {
      return false;
    }
    // Of the two ids, encode_new() wants both to be the same in the end.
    const repo::BlobId& id = chain.front().row.id;
    std::uint64_t differences = 0;
    for (const auto& copy : chain) {
      if (copy.row.base) differences += copy.row.stored_size;
    }
    // All differences of a chain together, or reading it costs more than it
    // saves (DESIGN, section 4).
    const std::uint64_t room = plain_size / 2;
    if (differences >= room) return false;
    blobs_.read_chain(chain, loaded.plain);
    loaded.base = {.id = id,
                   .depth = chain.front().row.depth,
                   .plain = loaded.plain,
                   .max_stored = static_cast<std::uint32_t>(room - differences),
                   .compresses_to = compresses_to(chain.back().row)};
    loaded.descent = std::move(descent);
    return true;
  } catch (const repo::Error&) {
    return false;  // damaged: a new chunk leans on nothing that is
  }
}

}  // namespace cairn::ingest
