// Index objects for many packs, written as the packs come, each of a size that
// is read with little memory.
#pragma once

#include <vector>

#include "repo/index_object.h"
#include "repo/kept.h"

namespace cairn::repo {

// Abandonment    what was not finish()ed may be named in part.
class IndexBatch {
 public:
  // Borrows storage, keyring and signer.
  IndexBatch(Storage& storage, const Keyring& keyring, const Signer& signer,
             const SessionId& session);

  void add(IndexedPack pack);
  void finish();

  // finish(); the packs added from now on have that assurance. Until then:
  // none.
  void begin(const Assurance& assurance);

  // Takes back what was published and forgets what was not.
  void discard();

  // Those published so far.
  [[nodiscard]] const std::vector<IndexId>& published() const {
    return published_;
  }

 private:
  void clear();

  Storage& storage_;
  const Keyring& keyring_;
  const Signer& signer_;
  IndexObject pending_;
  MemorySum pending_sum_;  // of its packs
  std::size_t pending_rows_ = 0;
  std::vector<IndexId> published_;
};

}  // namespace cairn::repo
