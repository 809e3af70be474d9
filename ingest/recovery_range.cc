#include "ingest/recovery_range.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "ingest/postgres_base.h"
#include "ingest/wal_protocol.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

using Range = WalReader::Range;

// "2026-11-27T08:01:02.123456Z", as a base backup has it.
std::optional<repo::Timestamp> parse_end_time(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() <= kShape.size() || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool fits =
        kShape[i] == 'd' ? is_digit(text[i]) : text[i] == kShape[i];
    if (!fits) return std::nullopt;
  }
  const auto number = [&](std::size_t at, std::size_t size) {
    return static_cast<unsigned>(
        parse_number(text.substr(at, size), 10).value_or(0));
  };
  using namespace std::chrono;
  const year_month_day day{year(static_cast<int>(number(0, 4))),
                           month(number(5, 2)), std::chrono::day(number(8, 2))};
  if (!day.ok()) return std::nullopt;
  const seconds since = sys_days(day).time_since_epoch() +
                        hours(number(11, 2)) + minutes(number(14, 2)) +
                        seconds(number(17, 2));
  repo::Timestamp time{since.count(), 0};
  std::string_view fraction = text.substr(kShape.size());
  fraction.remove_suffix(1);
  if (fraction.empty()) return time;
  constexpr std::size_t kMostDigits = 9;
  if (fraction[0] != '.' || fraction.size() < 2 ||
      fraction.size() > kMostDigits + 1 ||
      !std::ranges::all_of(fraction.substr(1), is_digit)) {
    return std::nullopt;
  }
  std::string digits(fraction.substr(1));
  digits.resize(kMostDigits, '0');
  time.nanoseconds =
      static_cast<std::uint32_t>(parse_number(digits, 10).value_or(0));
  return time;
}

std::optional<RecoveryBase> base_of(const repo::ValidSnapshot& valid,
                                    const repo::SourceReport& source) {
  namespace fact = postgres_fact;
  const auto number = [&](std::string_view name) {
    return parse_number(source.fact(name).value_or(""), 10);
  };
  const auto timeline = number(fact::kTimeline);
  const auto start = parse_lsn(source.fact(fact::kStartLsn).value_or(""));
  const auto end = parse_lsn(source.fact(fact::kEndLsn).value_or(""));
  const auto segment_bytes = number(fact::kWalSegmentBytes);
  const auto system = number(fact::kSystemIdentifier);
  if (!timeline || *timeline == 0 || *timeline > UINT32_MAX || !start || !end ||
      *end < *start || !system || !segment_bytes ||
      !is_segment_size(*segment_bytes) ||
      end->value > PathStep::kNoEnd.value - *segment_bytes) {
    return std::nullopt;
  }
  return RecoveryBase{
      .snapshot = &valid,
      .system = *system,
      .timeline = static_cast<std::uint32_t>(*timeline),
      .start = *start,
      .end = *end,
      .end_time = parse_end_time(source.fact(fact::kEndTime).value_or("")),
      .segment_bytes = *segment_bytes,
      .version = source.fact(fact::kServerVersion).value_or(""),
      .is_of_standby = source.fact(fact::kSource) == "standby"};
}

// Sorted, and those that touch or overlap made one.
std::vector<Range> united(std::vector<Range> ranges) {
  std::ranges::sort(ranges);
  std::vector<Range> all;
  for (const auto& range : ranges) {
    if (range.end <= range.begin) continue;
    if (!all.empty() && range.begin <= all.back().end) {
      all.back().end = std::max(all.back().end, range.end);
    } else {
      all.push_back(range);
    }
  }
  return all;
}

}  // namespace

Range RecoveryBase::own_wal() const {
  const Lsn begin = segment_begin(start, segment_bytes);
  if (is_of_standby) return {begin, end};
  return {begin, segment_begin({end.value + segment_bytes - 1}, segment_bytes)};
}

std::vector<std::uint32_t> RecoveryCluster::timelines() const {
  std::set<std::uint32_t> all;
  for (const auto& one : wal) all.insert(one.stream.timeline);
  for (const auto& base : bases) all.insert(base.timeline);
  return {all.begin(), all.end()};
}

std::vector<Range> RecoveryCluster::stored(std::uint32_t timeline) const {
  std::vector<Range> ranges;
  for (const auto& one : wal) {
    if (one.stream.timeline == timeline) {
      ranges.push_back({one.stream.start, one.end});
    }
  }
  return united(std::move(ranges));
}

std::vector<RecoveryCluster> find_clusters(
    std::span<const repo::ValidSnapshot> snapshots,
    const repo::SeriesTag& bases, const repo::SeriesTag& wal) {
  std::map<std::uint64_t, RecoveryCluster> clusters;
  for (const auto& valid : snapshots) {
    const auto& record = valid.snapshot.record;
    if (valid.snapshot.header.series_tag != bases || !record) continue;
    for (const auto& source : record->sources) {
      if (source.kind != repo::SourceKind::postgres_base ||
          source.status == repo::SourceStatus::failed) {
        continue;
      }
      // One that was repaired lacks files.
      auto base = record->repaired_from ? std::nullopt : base_of(valid, source);
      const auto system =
          parse_number(
              source.fact(postgres_fact::kSystemIdentifier).value_or(""), 10)
              .value_or(0);
      auto& cluster = clusters[system];
      if (base) {
        cluster.segment_bytes = base->segment_bytes;
        cluster.bases.push_back(std::move(*base));
      } else {
        ++cluster.unknown_bases;
      }
    }
  }
  for (auto& stored : find_wal(snapshots, wal)) {
    auto& cluster = clusters[stored.stream.system];
    cluster.segment_bytes = stored.segment_bytes;
    cluster.wal.push_back(std::move(stored));
  }
  std::vector<RecoveryCluster> all;
  for (auto& [system, cluster] : clusters) {
    cluster.system = system;
    // Who wrote another size of segments into it did not mean this cluster.
    const auto is_other = [&, bytes = cluster.segment_bytes](const auto& one) {
      return one.segment_bytes != bytes;
    };
    cluster.unknown_bases += std::erase_if(cluster.bases, is_other);
    std::erase_if(cluster.wal, is_other);
    std::ranges::sort(cluster.bases, [](const auto& a, const auto& b) {
      return std::pair(a.end, a.timeline) < std::pair(b.end, b.timeline);
    });
    all.push_back(std::move(cluster));
  }
  return all;
}

RecoveryPath path_to(std::uint32_t timeline, std::string_view history) {
  std::vector<TimelineEnd> ends;
  try {
    ends = parse_timeline_history(history);
  } catch (const ProducerFailed& e) {
    throw repo::CorruptionError(history_name(timeline) + ": " + e.what());
  }
  RecoveryPath path;
  Lsn begin;
  for (const auto& one : ends) {
    if (one.timeline >= timeline || one.end < begin) {
      throw repo::CorruptionError(history_name(timeline) +
                                  ": a timeline history file that is none");
    }
    path.push_back({one.timeline, begin, one.end});
    begin = one.end;
  }
  path.push_back({timeline, begin, PathStep::kNoEnd});
  return path;
}

std::vector<PathStep> steps_for(const RecoveryPath& path, Lsn lsn,
                                std::uint64_t segment_bytes) {
  const Lsn segment = segment_begin(lsn, segment_bytes);
  std::vector<PathStep> steps;
  for (auto step = path.rbegin(); step != path.rend(); ++step) {
    if (segment_begin(step->begin, segment_bytes) <= segment &&
        segment < step->end) {
      steps.push_back(*step);
    }
  }
  return steps;
}

bool is_on_path(const RecoveryPath& path, const RecoveryBase& base) {
  return std::ranges::any_of(path, [&](const PathStep& step) {
    return step.timeline == base.timeline && base.end <= step.end;
  });
}

RecoveryRange range_of(const RecoveryCluster& cluster,
                       const RecoveryPath& path) {
  std::vector<Range> ranges;
  std::vector<Range> stored;
  for (const auto& step : path) {
    const Lsn first = segment_begin(step.begin, cluster.segment_bytes);
    for (const auto& range : cluster.stored(step.timeline)) {
      stored.push_back(
          {std::max(range.begin, first), std::min(range.end, step.end)});
    }
    for (const auto& base : cluster.bases) {
      if (base.timeline != step.timeline || base.end > step.end) continue;
      const auto own = base.own_wal();
      ranges.push_back({own.begin, std::min(own.end, step.end)});
    }
  }
  ranges.insert(ranges.end(), stored.begin(), stored.end());

  RecoveryRange all;
  for (const auto& run : united(std::move(ranges))) {
    RecoveryWindow window;
    window.end = run.end;
    for (const auto& base : cluster.bases) {  // by end
      if (is_on_path(path, base) && run.begin <= base.start &&
          base.end <= run.end) {
        window.bases.push_back(&base);
      }
    }
    if (window.bases.empty()) {
      all.stranded = run;
      continue;
    }
    window.begin = window.bases.front()->end;
    all.windows.push_back(std::move(window));
    all.stranded.reset();
  }
  // A base's own rest of a segment is no WAL that anybody stored.
  for (auto& window : all.windows) {
    Lsn end = window.bases.back()->end;
    for (const auto& range : united(stored)) {
      if (range.begin <= window.end)
        end = std::max(end, std::min(range.end, window.end));
    }
    window.end = end;
  }
  return all;
}

}  // namespace cairn::ingest
