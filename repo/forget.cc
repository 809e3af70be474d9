#include "repo/forget.h"

#include <algorithm>
#include <string>

#include "repo/error.h"
#include "repo/mark.h"

namespace cairn::repo {
namespace {

MarkId publish_forget(Repository& repository, const SessionId& id,
                      std::string_view reason, const Timestamp& now) {
  const Role role = repository.keyring().role();
  if (role != Role::owner && role != Role::maintain) {
    // Such a mark would not count, and whoever reads marks would stop at it.
    throw WrongKey("the " + std::string(name_of(role)) +
                   " role may not forget snapshots");
  }
  Mark mark;
  mark.action = MarkAction::forget;
  mark.target = id;
  mark.time = now;
  mark.reason = reason;
  const auto attempt = [&] {
    return publish_mark(repository.storage(), repository.keyring(),
                        repository.signer(), mark);
  };
  try {
    return attempt();
  } catch (const OutOfSpace&) {
    give_reserve(repository.storage());
  }
  return attempt();
}

[[noreturn]] void refuse_held(const SessionId& id) {
  throw RefusedForSafety(snapshot_name(id) +
                         ": is held; `cairn hold remove` lets it go");
}

}  // namespace

MarkId forget_snapshot(Repository& repository, const ValidSnapshot& valid,
                       std::string_view reason, const Timestamp& now) {
  if (!valid.holds.empty()) refuse_held(valid.snapshot.id);
  return publish_forget(repository, valid.snapshot.id, reason, now);
}

MarkId forget_snapshot(Repository& repository, const SessionId& id,
                       std::string_view reason, const Timestamp& now) {
  const auto marks = read_marks(repository.storage(), repository.keyring());
  const auto holds = active_holds(marks, now);
  const bool is_held = std::ranges::any_of(
      holds, [&](const StoredMark& hold) { return hold.mark.target == id; });
  if (is_held) refuse_held(id);
  return publish_forget(repository, id, reason, now);
}

}  // namespace cairn::repo
