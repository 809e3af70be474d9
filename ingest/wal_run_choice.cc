#include "ingest/wal_run_choice.h"

#include <algorithm>

namespace cairn::ingest {

std::shared_ptr<WalRun> run_to_go_on_from(
    std::span<const std::shared_ptr<WalRun>> runs,
    const std::vector<TimelineEnd>& ends, Lsn kept) {
  std::shared_ptr<WalRun> furthest;
  for (const auto& next : runs) {
    bool is_new = !furthest;
    Lsn end = next->stream_begin();  // of what has to be there before it
    if (furthest && furthest->timeline() != next->timeline()) {
      const auto found =
          std::ranges::find(ends, furthest->timeline(), &TimelineEnd::timeline);
      is_new = true;
      end = found == ends.end() ? Lsn{} : found->end;
    }
    if (furthest && furthest->end() < end && kept <= furthest->end()) {
      return furthest;
    }
    if (is_new || furthest->end() < next->end()) furthest = next;
  }
  return furthest;
}

}  // namespace cairn::ingest
