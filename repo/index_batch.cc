#include "repo/index_batch.h"

#include <utility>

namespace cairn::repo {

IndexBatch::IndexBatch(Storage& storage, const Keyring& keyring,
                       const Signer& signer, const SessionId& session)
    : storage_(storage), keyring_(keyring), signer_(signer) {
  pending_.session = session;
}

void IndexBatch::add(IndexedPack pack) {
  // A pack's name and keys take the room of a few rows.
  constexpr std::size_t kRowsPerPack = 4;
  pending_rows_ += pack.directory.rows.size() + kRowsPerPack;
  pending_sum_.add(memory_sum_of(pack));
  pending_.packs.push_back(std::move(pack));
  if (pending_rows_ >= kRowsPerIndexObject) finish();
}

void IndexBatch::finish() {
  if (pending_.packs.empty()) return;
  MemorySum now;
  for (const auto& pack : pending_.packs) now.add(memory_sum_of(pack));
  require_unchanged(pending_sum_, now);
  published_.push_back(publish_index(storage_, keyring_, signer_, pending_));
  clear();
}

void IndexBatch::clear() {
  pending_.packs.clear();
  pending_sum_ = {};
  pending_rows_ = 0;
}

void IndexBatch::begin(const Assurance& assurance) {
  if (assurance == pending_.assurance) return;
  finish();
  pending_.assurance = assurance;
}

void IndexBatch::discard() {
  for (const auto& id : published_) storage_.remove(index_name(id));
  published_.clear();
  clear();
}

}  // namespace cairn::repo
