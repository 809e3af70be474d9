#include "repo/directory_cache.h"

#include <utility>

#include "repo/pack_format.h"

namespace cairn::repo {

void DirectoryCache::add(std::uint32_t number, Directory directory) {
  if (directory.rows.size() > most_rows_) return;
  while (row_count_ + directory.rows.size() > most_rows_) {
    forget_rows(0);
    packs_.pop_front();
    ++forgotten_;
  }
  Pack& pack = packs_.emplace_back();
  pack.number = number;
  pack.rows = std::move(directory.rows);
  row_count_ += pack.rows.size();
  std::uint64_t offset = kPackHeadBytes;
  Place place{forgotten_ + packs_.size() - 1, 0};
  for (const auto& row : pack.rows) {
    pack.offsets.push_back(offset);
    offset += row.stored_size;
    places_.insert_or_assign(row.id.prefix(), place);
    ++place.row;
  }
}

void DirectoryCache::forget(std::uint32_t number) {
  for (std::size_t i = 0; i < packs_.size(); ++i) {
    if (packs_[i].number == number) forget_rows(i);
  }
}

std::vector<BlobCopy> DirectoryCache::chain_of(BlobKind kind,
                                               const BlobId& id) const {
  std::vector<BlobCopy> chain;
  auto next = copy_of(kind, id);
  while (next) {
    chain.push_back(*next);
    if (!next->row.base) return chain;
    next = base_of(next->row);
  }
  return {};
}

std::optional<BlobCopy> DirectoryCache::copy_of(BlobKind kind,
                                                const BlobId& id) const {
  return find(kind, id, kMaxDepth + 1);
}

std::optional<BlobCopy> DirectoryCache::base_of(const BlobRow& row) const {
  if (!row.base) return std::nullopt;
  return find(row.kind, *row.base, row.depth);
}

std::optional<BlobCopy> DirectoryCache::find(BlobKind kind, const BlobId& id,
                                             std::uint32_t below) const {
  const auto found = places_.find(id.prefix());
  if (found == places_.end()) return std::nullopt;
  const Pack& pack = packs_[found->second.pack - forgotten_];
  const BlobRow& row = pack.rows[found->second.row];
  if (row.id != id || row.kind != kind || row.depth >= below) {
    return std::nullopt;
  }
  return BlobCopy{pack.number, pack.offsets[found->second.row], row};
}

// What is left keeps the place of the pack: those of the others are counted
// from it.
void DirectoryCache::forget_rows(std::size_t i) {
  for (const auto& row : packs_[i].rows) {
    const auto found = places_.find(row.id.prefix());
    if (found != places_.end() && found->second.pack == forgotten_ + i) {
      places_.erase(found);
    }
  }
  row_count_ -= packs_[i].rows.size();
  packs_[i] = {packs_[i].number, {}, {}};
}

}  // namespace cairn::repo
