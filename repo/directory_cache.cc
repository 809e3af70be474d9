#include "repo/directory_cache.h"

#include <utility>

#include "repo/pack_format.h"

namespace cairn::repo {

void DirectoryCache::add(std::uint32_t number, Directory directory) {
  if (directory.rows.size() > kMostRows) return;
  while (row_count_ + directory.rows.size() > kMostRows) {
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
  if (!append(kind, id, kMaxDepth + 1, chain)) chain.clear();
  return chain;
}

std::vector<BlobCopy> DirectoryCache::chain_below(const BlobRow& row) const {
  std::vector<BlobCopy> chain;
  if (row.base && !append(row.kind, *row.base, row.depth, chain)) chain.clear();
  return chain;
}

bool DirectoryCache::append(BlobKind kind, const BlobId& id,
                            std::uint32_t below,
                            std::vector<BlobCopy>& chain) const {
  const auto found = places_.find(id.prefix());
  if (found == places_.end()) return false;
  const Pack& pack = packs_[found->second.pack - forgotten_];
  const BlobRow& row = pack.rows[found->second.row];
  if (row.id != id || row.kind != kind || row.depth >= below) return false;
  chain.push_back({pack.number, pack.offsets[found->second.row], row});
  return !row.base || append(kind, *row.base, row.depth, chain);
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
