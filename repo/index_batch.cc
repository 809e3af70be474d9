#include "repo/index_batch.h"

#include <utility>

namespace cairn::repo {

IndexBatch::IndexBatch(Storage& storage, const Keyring& keyring,
                       const Signer& signer, const SessionId& session)
    : storage_(storage),
      keyring_(keyring),
      signer_(signer),
      session_(session) {}

void IndexBatch::add(IndexedPack pack) {
  // A pack's name and keys take the room of a few rows.
  constexpr std::size_t kRowsPerPack = 4;
  pending_rows_ += pack.directory.rows.size() + kRowsPerPack;
  pending_.add(std::move(pack));
  if (pending_rows_ >= kRowsPerIndexObject) finish();
}

void IndexBatch::finish() {
  if (pending_.empty()) return;
  published_.push_back(publish_index(storage_, keyring_, signer_,
                                     {session_, pending_.take(), assurance_}));
  pending_rows_ = 0;
}

void IndexBatch::begin(const Assurance& assurance) {
  if (assurance == assurance_) return;
  finish();
  assurance_ = assurance;
}

void IndexBatch::discard() {
  for (const auto& id : published_) storage_.remove(index_name(id));
  published_.clear();
  pending_.clear();
  pending_rows_ = 0;
}

}  // namespace cairn::repo
