#include "repo/repacker.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/object_digest.h"
#include "repo/pack_format.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kTargetPackBytes = std::uint64_t{64} << 20;

// Neighbours are read together, up to this.
constexpr std::size_t kReadBytes = std::size_t{4} << 20;

}  // namespace

Repacker::Repacker(Repository& repository, IndexBatch& index,
                   Progress* progress)
    : repository_(repository), index_(index), progress_(progress) {}

void Repacker::move(const PackId& id, const std::vector<bool>& moved) {
  Storage& storage = repository_.storage();
  const std::string name = pack_name(id);
  const IndexedPack pack =
      read_pack_directory(storage, repository_.keyring(), id).pack;
  const auto& rows = pack.directory.rows;
  assert(moved.size() == rows.size());

  // A role that cannot open the blobs compares the whole pack with its name.
  const bool can_open =
      std::ranges::all_of(pack.directory.keys, [&](const WrappedKey& key) {
        return repository_.session_keys().find(key) != nullptr;
      });
  if (!can_open && digest_of_object(storage, name, pack.size) != id.bytes) {
    throw CorruptionError(name + ": its SHA-256 is not its name");
  }

  std::uint64_t offset = kPackHeadBytes;
  for (std::size_t i = 0; i < rows.size();) {
    if (!moved[i]) {
      offset += rows[i++].stored_size;
      continue;
    }
    std::size_t end = i;
    std::size_t size = 0;
    while (end < rows.size() && moved[end] &&
           (size == 0 || size + rows[end].stored_size <= kReadBytes)) {
      size += rows[end++].stored_size;
    }
    stored_.resize(size);
    storage.get(name, offset, stored_);
    offset += size;
    for (auto rest = std::span<const std::byte>(stored_); i < end; ++i) {
      const auto stored = rest.first(rows[i].stored_size);
      rest = rest.subspan(stored.size());
      const WrappedKey& key = pack.directory.keys[rows[i].key];
      if (can_open) verify(rows[i], key, stored);
      auto& writer = rows[i].kind == BlobKind::content ? content_ : nodes_;
      if (!writer) {
        writer.emplace(storage, repository_.keyring().newest());
      }
      writer->add(rows[i], key, stored);
      bytes_moved_ += stored.size();
      if (progress_ != nullptr) progress_->bytes_done += stored.size();
      if (writer->size_if_finished() >= kTargetPackBytes ||
          writer->blob_count() >= kMaxRows) {
        finish(writer);
      }
    }
  }
}

void Repacker::finish() {
  finish(content_);
  finish(nodes_);
}

void Repacker::verify(const BlobRow& row, const WrappedKey& key,
                      std::span<const std::byte> stored) {
  opened_.resize(stored.size() - crypto::kTagBytes);
  const auto ad =
      associated_data(repository_.keyring().family(), key.generation, row);
  if (!crypto::open(*repository_.session_keys().find(key), ad, stored,
                    opened_)) {
    throw CorruptionError("blob " + row.id.brief() + ": tag does not verify");
  }
}

void Repacker::finish(std::optional<PackWriter>& writer) {
  if (!writer) return;
  IndexedPack pack = std::move(*writer).finish();
  writer.reset();
  written_.push_back({pack.id, pack.size});
  index_.add(std::move(pack));
}

}  // namespace cairn::repo
