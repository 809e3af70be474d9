#include "repo/hold.h"

#include <algorithm>
#include <cassert>

#include "repo/error.h"

namespace cairn::repo {

MarkId hold_snapshot(Repository& repository, const Mark& hold) {
  assert(hold.action == MarkAction::hold);
  Storage& storage = repository.storage();
  const MarkId id =
      publish_mark(storage, repository.keyring(), repository.signer(), hold);
  // Marks before the slot: a prune removes the slot first. Of a hold and a
  // forget at once at least one sees the other.
  const auto marks = read_marks(storage, repository.keyring());
  const bool is_forgotten = std::ranges::any_of(marks, [&](const auto& stored) {
    return stored.mark.action == MarkAction::forget &&
           stored.mark.target == hold.target;
  });
  if (is_forgotten) {
    throw RefusedForSafety("snapshot " + hold.target.brief() +
                           " was forgotten meanwhile: it is lost, or stays "
                           "unseen while it is held");
  }
  if (!storage.size(snapshot_name(hold.target))) {
    throw RefusedForSafety("snapshot " + hold.target.brief() +
                           " was forgotten and pruned meanwhile: it is lost, "
                           "and the hold holds nothing");
  }
  return id;
}

}  // namespace cairn::repo
