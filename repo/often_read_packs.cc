#include "repo/often_read_packs.h"

#include <mutex>
#include <utility>

#include "repo/error.h"
#include "repo/pack_reader.h"

namespace cairn::repo {

std::optional<BlobCopy> OftenReadPacks::copy_of(BlobKind kind,
                                                const BlobId& id) const {
  const std::shared_lock lock(mutex_);
  return directories_.copy_of(kind, id);
}

std::optional<BlobCopy> OftenReadPacks::base_of(const BlobRow& row) const {
  const std::shared_lock lock(mutex_);
  return directories_.base_of(row);
}

void OftenReadPacks::note(const Storage& storage, const Keyring& keyring,
                          const BlobIndex& index, const BlobCopy& copy) {
  constexpr unsigned kOften = 64;
  {
    const std::lock_guard lock(mutex_);
    if (++named_[copy.pack] != kOften) return;
  }
  try {
    const PackId id = index.pack(copy.pack).id;
    auto directory = read_pack_directory(storage, keyring, id).pack.directory;
    const std::lock_guard lock(mutex_);
    directories_.add(copy.pack, std::move(directory));
  } catch (const Error&) {
    return;
  }
}

}  // namespace cairn::repo
