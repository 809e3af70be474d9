#include "ingest/recovery_plan.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

using Kind = RecoveryTarget::Kind;

// Commits are stamped a little before they are written; only more than this is
// a clock that was set back.
constexpr std::int64_t kClockTolerance = 5'000'000;  // microseconds

// How far behind a stop commits are looked for that are not later than it.
constexpr std::uint64_t kLookAhead = std::uint64_t{16} << 20;

bool ends_transaction(const WalEvent& event) {
  return event.kind == WalEvent::Kind::commit ||
         event.kind == WalEvent::Kind::abort;
}

// A reading of WAL from a base on.
struct Scan {
  struct Stop {
    Lsn replayed;  // where the server will be
    Lsn read;      // what it has read until then
  };
  std::optional<Stop> stop;
  // A record ends the recovery before the base is consistent.
  bool stops_too_early = false;

  Lsn begin;  // of the last record
  Lsn end;    // of all
  std::optional<WalTime> last_commit;
  std::optional<WalTime> last_time;
  std::vector<std::string> tablespaces;
  std::vector<std::string> warnings;
};

class Scanner {
 public:
  Scanner(RecoveryWal& wal, const RecoveryPath& path, const RecoveryBase& base,
          const RecoveryTarget& target)
      : base_(base), target_(target), records_(wal.records(path, base.start)) {
    scan_.end = base.start;
    if (base.end_time) scan_.last_time = to_wal_time(*base.end_time);
  }

  // Up to the target or to `limit`.
  Scan run(Lsn limit, repo::Progress& progress, const std::stop_token& stop) {
    constexpr std::uint64_t kStep = std::uint64_t{1} << 20;
    Lsn told = base_.start;
    while (const auto record = records_.next()) {
      if (record->begin.value - told.value >= kStep) {
        if (stop.stop_requested()) throw repo::Cancelled("interrupted");
        progress.bytes_done += record->begin.value - told.value;
        progress.set_current(to_string(record->begin));
        told = record->begin;
      }
      if (record->begin >= limit) break;
      const auto event = event_of(*record);
      const bool is_before = event && stops_before(*event);
      if (is_before) {
        end_at({scan_.end, record->next});
        if (scan_.stop) look_ahead(*event);
        break;
      }
      scan_.begin = record->begin;
      scan_.end = record->next;
      if (event) take(*event, *record);
      if (stops_after(*record, event)) {
        end_at({record->next, record->next});
        break;
      }
    }
    return std::move(scan_);
  }

 private:
  [[nodiscard]] bool stops_before(const WalEvent& event) const {
    return target_.kind == Kind::time && ends_transaction(event) &&
           event.time && *event.time > target_.time;
  }

  [[nodiscard]] bool stops_after(const WalRecord& record,
                                 const std::optional<WalEvent>& event) const {
    switch (target_.kind) {
      case Kind::lsn:
        return record.begin >= target_.lsn;
      case Kind::transaction:
        return event && ends_transaction(*event) &&
               event->transaction == target_.transaction;
      case Kind::name:
        return event && event->kind == WalEvent::Kind::restore_point &&
               event->text == target_.name;
      case Kind::immediate:
        return record.next >= base_.end;
      case Kind::time:
      case Kind::end:
        return false;
    }
    return false;
  }

  void end_at(const Scan::Stop& stop) {
    if (stop.replayed < base_.end) {
      scan_.stops_too_early = true;
    } else {
      scan_.stop = stop;
    }
  }

  void take(const WalEvent& event, const WalRecord& record) {
    if (event.kind == WalEvent::Kind::create_tablespace) {
      // One without a place lies in the data directory.
      if (!event.text.empty()) scan_.tablespaces.push_back(event.text);
      return;
    }
    if (!event.time) return;
    if (ends_transaction(event)) {
      note_clock(*event.time, record.begin);
      scan_.last_commit = event.time;
    }
    scan_.last_time = std::max(scan_.last_time, event.time);
  }

  void note_clock(WalTime time, Lsn lsn) {
    constexpr std::size_t kMostWarnings = 5;
    if (latest_ &&
        latest_->microseconds - time.microseconds > kClockTolerance) {
      if (scan_.warnings.size() < kMostWarnings) {
        scan_.warnings.push_back(
            "the server's clock was set back from " + to_string(*latest_) +
            " to " + to_string(time) + " at " + to_string(lsn) +
            ": moments between are ambiguous, and a recovery ends at the first "
            "commit that is later than its target");
      }
      latest_ = time;
    }
    latest_ = std::max(latest_, std::optional(time));
  }

  // Commits behind a stop that are of no later time: a clock that was set
  // forward for a while.
  void look_ahead(const WalEvent& at) {
    const Lsn from = records_.position();
    while (const auto record = records_.next()) {
      if (record->begin.value - from.value > kLookAhead) return;
      const auto event = event_of(*record);
      const bool is_not_later =
          event && ends_transaction(*event) && event->time &&
          target_.time.microseconds - event->time->microseconds >
              kClockTolerance;
      if (!is_not_later) continue;
      scan_.warnings.push_back(
          "the server's clock went wrong: the recovery ends before a commit "
          "of " +
          to_string(*at.time) + ", and behind that are commits of " +
          to_string(*event->time) + ", which will be missing; --target-lsn " +
          to_string(record->begin) + " has them");
      return;
    }
  }

  const RecoveryBase& base_;
  const RecoveryTarget& target_;
  WalRecords records_;
  Scan scan_;
  std::optional<WalTime> latest_;
};

class Planner {
 public:
  Planner(RecoveryWal& wal, const RecoveryTarget& target,
          std::optional<std::uint32_t> timeline, repo::Progress& progress,
          const std::stop_token& stop)
      : wal_(wal), target_(target), progress_(progress), stop_(stop) {
    const auto timelines = wal.cluster().timelines();
    if (timelines.empty()) refuse("there is nothing to recover from");
    timeline_ = timeline.value_or(timelines.back());
    if (std::ranges::find(timelines, timeline_) == timelines.end()) {
      refuse("nothing is stored of timeline " + std::to_string(timeline_));
    }
    way_ = wal.path_to(timeline_);
    if (!way_.is_known) {
      refuse("the history file of timeline " + std::to_string(timeline_) +
             ", which a server needs to go there, is not in the repository");
    }
    for (const auto& base : wal.cluster().bases) {
      if (is_on_path(way_.path, base)) bases_.push_back(&base);
    }
    std::ranges::reverse(bases_);  // newest first
    if (bases_.empty()) {
      refuse("no base backup leads to timeline " + std::to_string(timeline_));
    }
  }

  RecoveryPlan plan() {
    switch (target_.kind) {
      case Kind::transaction:
      case Kind::name:
        return plan_search();
      case Kind::time:
      case Kind::lsn:
      case Kind::immediate:
      case Kind::end:
        return plan_ordered();
    }
    return plan_ordered();
  }

 private:
  // The newest base before the target; all behind it is in WAL.
  RecoveryPlan plan_ordered() {
    for (const auto* const base : bases_) {
      if (!may_lie_before(*base)) continue;
      Scan scan = scan_from(*base, PathStep::kNoEnd);
      if (scan.stops_too_early) continue;
      if (!scan.stop && !ends_just_there(*base, scan)) {
        refuse(words_of_target() + " lies behind all WAL that follows base " +
               brief(*base) + ": that ends at " + to_string(scan.end) +
               words_of_end(scan) +
               (end_behind(scan) ? "" : " ('--at latest' is all of it)"));
      }
      if (target_.kind == Kind::end) require_nothing_behind(scan);
      return plan_of(*base, std::move(scan));
    }
    refuse(words_of_target() +
           " lies before the end of the oldest base on "
           "timeline " +
           std::to_string(timeline_));
  }

  // Where it lies is not known before it is met: first behind the newest base,
  // then between that and the one before.
  RecoveryPlan plan_search() {
    Lsn limit = PathStep::kNoEnd;
    for (const auto* const base : bases_) {
      Scan scan = scan_from(*base, limit);
      if (scan.stop) return plan_of(*base, std::move(scan));
      // One that was met too early is behind an older base's end.
      limit = scan.stops_too_early ? PathStep::kNoEnd : base->end;
    }
    refuse(words_of_target() +
           " is in no WAL that follows a base on timeline " +
           std::to_string(timeline_));
  }

  [[nodiscard]] bool may_lie_before(const RecoveryBase& base) const {
    if (target_.kind == Kind::lsn) return base.end <= target_.lsn;
    if (target_.kind != Kind::time) return true;
    if (base.end_time) {
      const auto time = to_wal_time(*base.end_time);
      return time && *time <= target_.time;
    }
    const auto began = to_wal_time(base.snapshot->snapshot.header.time);
    return began && *began <= target_.time;
  }

  // True if the target is what WAL ends with, which a server cannot know.
  [[nodiscard]] bool ends_just_there(const RecoveryBase& base,
                                     const Scan& scan) const {
    if (scan.end < base.end) return false;
    switch (target_.kind) {
      case Kind::end:
        return true;
      case Kind::time:
        return scan.last_time && target_.time <= *scan.last_time;
      case Kind::lsn:
        return target_.lsn <= scan.end;
      default:
        return false;
    }
  }

  // Where WAL ends that is stored on the way and that this reading did not come
  // to, for a gap before it. Nothing: it came to all.
  [[nodiscard]] std::optional<Lsn> end_behind(const Scan& scan) const {
    // The beginning of a record that came no further.
    constexpr std::uint64_t kTorn = std::uint64_t{1} << 20;
    std::optional<Lsn> behind;
    for (const auto& step : way_.path) {
      for (const auto& range : wal_.cluster().stored(step.timeline)) {
        const Lsn end = std::min(range.end, step.end);
        if (end > scan.end && end.value - scan.end.value > kTorn) {
          behind = std::max(behind, std::optional(end));
        }
      }
    }
    return behind;
  }

  // Who wants all there is must know when that is not all.
  void require_nothing_behind(const Scan& scan) {
    const auto behind = end_behind(scan);
    if (!behind) return;
    refuse("WAL can be followed to " + to_string(scan.end) +
           words_of_end(scan) + ", and there is more, up to " +
           to_string(*behind) +
           ", that no base leads to; say which moment you want");
  }

  Scan scan_from(const RecoveryBase& base, Lsn limit) {
    return Scanner(wal_, way_.path, base, target_).run(limit, progress_, stop_);
  }

  RecoveryPlan plan_of(const RecoveryBase& base, Scan scan) const {
    RecoveryPlan plan;
    plan.base = &base;
    plan.timeline = timeline_;
    plan.path = way_.path;
    plan.target = target_;
    if (scan.stop) {
      plan.stop = scan.stop->replayed;
      plan.wal_end = scan.stop->read;
    } else {
      plan.target = {};
      plan.target.kind = Kind::lsn;
      plan.target.lsn = scan.begin;
      plan.stop = plan.wal_end = scan.end;
    }
    plan.last_commit = scan.last_commit;
    plan.warnings = std::move(scan.warnings);
    std::ranges::sort(scan.tablespaces);
    const auto same = std::ranges::unique(scan.tablespaces);
    scan.tablespaces.erase(same.begin(), same.end());
    plan.new_tablespaces = std::move(scan.tablespaces);
    return plan;
  }

  [[nodiscard]] std::string words_of_target() const {
    return to_string(target_);
  }
  [[nodiscard]] static std::string words_of_end(const Scan& scan) {
    return scan.last_commit
               ? ", with the last commit at " + to_string(*scan.last_commit)
               : ", without a commit";
  }
  [[nodiscard]] static std::string brief(const RecoveryBase& base) {
    return base.snapshot->snapshot.id.brief();
  }

  [[noreturn]] void refuse(std::string why) {
    const auto lines = reachable_moments(wal_, stop_);
    if (lines.empty()) {
      why +=
          "; nothing can be reached: take a base backup with 'cairn pg base'";
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      why += (i == 0 ? "; what can be reached: " : "; ") + lines[i];
    }
    throw repo::RefusedForSafety(why);
  }

  RecoveryWal& wal_;
  const RecoveryTarget& target_;
  repo::Progress& progress_;
  const std::stop_token& stop_;
  std::uint32_t timeline_ = 0;
  RecoveryWal::Way way_;
  std::vector<const RecoveryBase*> bases_;
};

}  // namespace

std::string to_string(const RecoveryTarget& target) {
  switch (target.kind) {
    case Kind::time:
      return to_string(target.time);
    case Kind::lsn:
      return "LSN " + to_string(target.lsn);
    case Kind::transaction:
      return "transaction " + std::to_string(target.transaction);
    case Kind::name:
      return "restore point '" + target.name + "'";
    case Kind::immediate:
      return "the end of the base backup";
    case Kind::end:
      return "the end of WAL";
  }
  return {};
}

RecoveryPlan plan_recovery(RecoveryWal& wal, const RecoveryTarget& target,
                           std::optional<std::uint32_t> timeline,
                           repo::Progress& progress,
                           const std::stop_token& stop) {
  return Planner(wal, target, timeline, progress, stop).plan();
}

std::vector<std::string> reachable_moments(RecoveryWal& wal,
                                           const std::stop_token& stop) {
  std::vector<std::string> lines;
  for (const auto timeline : wal.cluster().timelines()) {
    const auto way = wal.path_to(timeline);
    const auto range = range_of(wal.cluster(), way.path);
    for (const auto& window : range.windows) {
      const auto& base = *window.bases.front();
      // Of a window that ends before this timeline begins its own one tells.
      if (window.end <= way.path.back().begin && way.path.size() > 1) continue;
      const auto from = wal.first_moment(way.path, base, stop);
      const auto last =
          wal.last_records(way.path, window.begin, window.end, stop);
      std::string line = "timeline " + std::to_string(timeline) + " from " +
                         (from ? to_string(*from) + " (" : "(") +
                         to_string(window.begin) + ")";
      if (last && last->last_commit) {
        line += " to " + to_string(*last->last_commit) + " (" +
                to_string(last->next) + ")";
      } else if (last) {
        line += " to " + to_string(last->next) + ", without a commit between";
      } else {
        line += " alone, for want of WAL behind it (--immediate)";
      }
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

}  // namespace cairn::ingest
