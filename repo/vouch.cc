#include "repo/vouch.h"

#include <utility>

#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"

namespace cairn::repo {

std::vector<PackId> vouch_for(Repository& repository, const SessionId& session,
                              std::span<const SoundPack> packs) {
  Storage& storage = repository.storage();
  IndexBatch batch(storage, repository.keyring(), repository.signer(), session);
  std::vector<PackId> named;
  const auto doomed =
      doomed_packs(read_epochs(storage, repository.keyring()).newest);
  try {
    batch.begin(Assurance::for_everyone());
    for (const SoundPack& pack : packs) {
      if (doomed.contains(pack.id)) continue;
      if (!storage.size(pack_name(pack.id))) continue;  // pruned since
      auto found =
          read_pack_directory(storage, repository.keyring(), pack.id).pack;
      if (digest_of(found.directory) != pack.directory) {
        throw CorruptionError(pack_name(pack.id) + ": has changed");
      }
      batch.add(std::move(found));
      named.push_back(pack.id);
    }
    batch.finish();
    for (const PackId& id : named) {
      if (!storage.size(pack_name(id))) {
        throw NotFound(pack_name(id) + ": was removed");
      }
    }
  } catch (const Error&) {
    batch.discard();
    throw;
  }
  return named;
}

}  // namespace cairn::repo
