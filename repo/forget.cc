#include "repo/forget.h"

#include <algorithm>
#include <map>
#include <set>
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

namespace {

std::set<SeriesTag> series_with_complete(const SnapshotList& list,
                                         const Timestamp& now) {
  std::set<SeriesTag> tags;
  for (const auto& valid : list.snapshots) {
    const SnapshotHeader& header = valid.snapshot.header;
    if (header.is_complete && !arrived_in_the_future(valid.snapshot, now)) {
      tags.insert(header.series_tag);
    }
  }
  return tags;
}

}  // namespace

std::vector<SessionId> forget_snapshots(Repository& repository,
                                        std::span<const ToForget> all,
                                        LastComplete last,
                                        const Timestamp& now) {
  // By series, of which a complete snapshot went.
  std::map<SeriesTag, std::vector<MarkId>> published;
  if (all.empty()) return {};
  const auto take_back = [&](const std::vector<MarkId>& marks) {
    for (const auto& id : marks) repository.storage().remove(mark_name(id));
  };
  SnapshotList list;
  try {
    for (const auto& [valid, reason] : all) {
      const MarkId id = forget_snapshot(repository, *valid, reason, now);
      if (valid->snapshot.header.is_complete) {
        published[valid->snapshot.header.series_tag].push_back(id);
      }
    }
    list = repository.snapshots(now);
  } catch (...) {
    // Whatever it was, that the keys were renewed at this moment say: whether a
    // series has another complete one was not seen.
    for (const auto& [tag, marks] : published) {
      try {
        take_back(marks);
      } catch (const Error&) {
        continue;  // what failed first says why
      }
    }
    throw;
  }
  if (last == LastComplete::stays) {
    const auto remaining = series_with_complete(list, now);
    bool is_emptied = false;
    for (const auto& [tag, marks] : published) {
      if (remaining.contains(tag)) continue;
      is_emptied = true;
      take_back(marks);
    }
    if (is_emptied) {
      throw RefusedForSafety(
          "another process forgot the other snapshots of a series at the same "
          "time; its last complete ones were not forgotten. Look at `cairn "
          "snapshots` before trying again");
    }
  }
  std::vector<SessionId> held;
  const auto holds = active_holds(list.marks, now);
  for (const auto& [valid, reason] : all) {
    const bool is_held = std::ranges::any_of(holds, [&](const auto& hold) {
      return hold.mark.target == valid->snapshot.id;
    });
    if (is_held) held.push_back(valid->snapshot.id);
  }
  return held;
}

bool arrived_in_the_future(const Snapshot& snapshot, const Timestamp& now) {
  constexpr std::int64_t kToleranceSeconds = 3600;
  return snapshot.header.arrival.seconds > now.seconds + kToleranceSeconds;
}

}  // namespace cairn::repo
