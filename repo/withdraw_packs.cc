#include "repo/withdraw_packs.h"

#include <string>
#include <utility>
#include <vector>

#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/index_object.h"
#include "repo/look_at.h"
#include "repo/session.h"

namespace cairn::repo {
namespace {

// Others may publish index objects meanwhile that name what is taken out.
constexpr int kAttempts = 5;

// False: none named any.
bool withdraw_once(Repository& repository, const SessionId& session,
                   const std::set<PackId>& packs,
                   const std::function<void()>& step) {
  Storage& storage = repository.storage();
  const Keyring& keyring = repository.keyring();
  IndexBatch batch(storage, keyring, repository.signer(), session);
  std::vector<IndexId> superseded;
  for (const auto& id : list_indexes(storage)) {
    step();
    IndexObject object;
    const auto trouble =
        trouble_of("damaged-index", index_name(id), IfGone::it_vanished,
                   [&] { object = read_index(storage, keyring, id); });
    if (trouble) continue;  // what cannot be read says nothing
    const auto left_out = std::erase_if(
        object.packs,
        [&](const IndexedPack& pack) { return packs.contains(pack.id); });
    if (left_out == 0) continue;
    superseded.push_back(id);
    batch.begin(object.assurance);
    for (auto& pack : object.packs) batch.add(std::move(pack));
  }
  batch.finish();
  if (!are_there(storage, superseded)) {
    batch.discard();  // others replaced them meanwhile
    return true;
  }
  for (const auto& id : superseded) {
    // What a prune that fenced this session off dooms may be what this repair
    // takes for good.
    if (!storage.size(session_name(session))) {
      throw LockedError(session_name(session) +
                        ": was fenced off by a prune, which took it for dead; "
                        "run the repair again");
    }
    storage.remove(index_name(id));
  }
  return !superseded.empty() || !are_there(storage, batch.published());
}

}  // namespace

void withdraw_packs(Repository& repository, const SessionId& session,
                    const std::set<PackId>& packs,
                    const std::function<void()>& step) {
  int attempt = 0;
  while (withdraw_once(repository, session, packs, step)) {
    if (++attempt == kAttempts) {
      throw LockedError(
          "index: others change it again and again; run the repair again");
    }
  }
  for (const auto& id : packs) repository.index().take_back(id);
  repository.index().refresh(repository.storage(), repository.keyring());
}

}  // namespace cairn::repo
