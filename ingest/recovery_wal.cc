#include "ingest/recovery_wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {
namespace {

constexpr std::size_t kMaxHistoryBytes = std::size_t{1} << 20;
constexpr std::string_view kWalFolder = "pg_wal/";

}  // namespace

// Reads files of pg_wal in a base backup, one segment after another.
class RecoveryWal::OwnWal {
 public:
  OwnWal(repo::Repository& repository, const RecoveryBase& base)
      : base_(base), blobs_(repository.blobs()), trees_(blobs_) {
    (void)repository.index_for(base.snapshot->snapshot.header.root);
  }

  // Within one segment; 0: it is not there.
  std::size_t read(Lsn at, std::span<std::byte> out) {
    const Lsn segment = segment_begin(at, base_.segment_bytes);
    if (segment_ != segment) open(segment);
    if (!stream_) return 0;
    const std::uint64_t offset = at.value - segment.value;
    const auto place = stream_->at(offset);
    if (!place) return 0;
    if (!plain_ || place->id != id_) {
      plain_ = blobs_.read(repo::BlobKind::content, place->id);
      id_ = place->id;
      if (plain_->size() != place->length) {
        throw repo::CorruptionError(
            "blob " + place->id.brief() +
            ": is not as long as the node says that names it");
      }
    }
    const auto within = static_cast<std::size_t>(offset - place->offset);
    const std::size_t count = std::min(out.size(), plain_->size() - within);
    std::copy_n(plain_->data() + within, count, out.begin());
    return count;
  }

  std::optional<std::string> history(std::uint32_t timeline) {
    const auto found = find(history_name(timeline));
    if (!found || found->entry.size > kMaxHistoryBytes) return std::nullopt;
    std::string content;
    trees_.for_each_chunk(found->rows, [&](const repo::Link& chunk) {
      const auto plain = blobs_.read(repo::BlobKind::content, chunk.id);
      const auto* const text = reinterpret_cast<const char*>(plain->data());
      content.append(text, plain->size());
      return content.size() > kMaxHistoryBytes ? repo::Visit::stop
                                               : repo::Visit::go_on;
    });
    if (content.size() != found->entry.size) return std::nullopt;
    return content;
  }

 private:
  std::optional<repo::TreeEntry> find(const std::string& name) {
    auto found = trees_.find(
        {repo::BlobKind::links, base_.snapshot->snapshot.header.root, 0},
        std::string(kWalFolder) + name);
    if (!found || found->entry.type != repo::EntryType::file ||
        found->entry.weave || !found->entry.holes.empty()) {
      return std::nullopt;
    }
    return found;
  }

  void open(Lsn segment) {
    segment_ = segment;
    stream_.reset();
    plain_ = nullptr;
    const auto found =
        find(segment_name(base_.timeline, segment, base_.segment_bytes));
    if (found && found->entry.size == base_.segment_bytes) {
      stream_.emplace(blobs_, found->rows);
    }
  }

  const RecoveryBase& base_;
  repo::BlobReader blobs_;
  repo::TreeReader trees_;
  std::optional<Lsn> segment_;
  std::optional<repo::StreamCursor> stream_;
  repo::PlainBlob plain_;
  repo::BlobId id_;
};

RecoveryWal::RecoveryWal(repo::Repository& repository,
                         const RecoveryCluster& cluster)
    : repository_(repository),
      cluster_(cluster),
      received_(repository, cluster.wal) {}

RecoveryWal::~RecoveryWal() = default;

std::size_t RecoveryWal::read(const RecoveryPath& path, Lsn at,
                              std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const Lsn here{at.value + done};
    std::uint64_t left =
        cluster_.segment_bytes - here.value % cluster_.segment_bytes;
    std::size_t count = 0;
    for (const auto& step : steps_for(path, here, cluster_.segment_bytes)) {
      if (here >= step.end) continue;
      left = std::min(left, step.end.value - here.value);
      count = read_file(
          step, here,
          out.subspan(done, static_cast<std::size_t>(std::min(
                                std::uint64_t{out.size() - done}, left))));
      if (count > 0) break;
    }
    if (count == 0) break;
    done += count;
  }
  return done;
}

std::size_t RecoveryWal::read_file(const PathStep& step, Lsn at,
                                   std::span<std::byte> out) {
  if (const auto count = received_.read(step.timeline, at, out)) return count;
  for (const auto& base : cluster_.bases) {
    if (base.timeline != step.timeline || base.end > step.end) continue;
    const auto own = base.own_wal();
    if (at < own.begin || at >= own.end) continue;
    auto& reader = own_[&base];
    if (!reader) reader = std::make_unique<OwnWal>(repository_, base);
    const auto most =
        std::min<std::uint64_t>(out.size(), own.end.value - at.value);
    if (const auto count =
            reader->read(at, out.first(static_cast<std::size_t>(most)))) {
      return count;
    }
  }
  return 0;
}

std::optional<std::string> RecoveryWal::history(std::uint32_t timeline) {
  if (auto received = received_.history(timeline)) return received;
  for (const auto& base : cluster_.bases) {
    if (base.timeline < timeline) continue;
    auto& reader = own_[&base];
    if (!reader) reader = std::make_unique<OwnWal>(repository_, base);
    if (auto own = reader->history(timeline)) return own;
  }
  return std::nullopt;
}

RecoveryWal::Way RecoveryWal::path_to(std::uint32_t timeline) {
  if (timeline == 1) return {ingest::path_to(1, ""), true};
  const auto text = history(timeline);
  return {ingest::path_to(timeline, text.value_or("")), text.has_value()};
}

WalRecords RecoveryWal::records(const RecoveryPath& path, Lsn from) {
  return WalRecords(
      [this, path](Lsn at, std::span<std::byte> out) {
        return read(path, at, out);
      },
      from, cluster_.segment_bytes);
}

std::optional<RecoveryWal::End> RecoveryWal::last_records(
    const RecoveryPath& path, Lsn begin, Lsn end, const std::stop_token& stop) {
  constexpr std::uint64_t kStep = std::uint64_t{1} << 20;
  std::optional<End> found;
  while (end > begin) {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    const Lsn from{
        end.value - begin.value <= kStep
            ? begin.value
            : std::max(begin.value, (end.value - kStep) / kStep * kStep)};
    auto all = records(path, from);
    std::optional<End> here;
    while (const auto record = all.next()) {
      if (record->begin >= end) break;
      if (!here) here.emplace();
      here->last = record->begin;
      here->next = record->next;
      const auto event = event_of(*record);
      if (!event || !event->time) continue;
      here->last_time = std::max(here->last_time, event->time);
      const bool is_end = event->kind == WalEvent::Kind::commit ||
                          event->kind == WalEvent::Kind::abort;
      if (is_end) here->last_commit = event->time;
    }
    if (here && !found) {
      found = here;
    } else if (here) {
      found->last_commit = here->last_commit;
      found->last_time = std::max(found->last_time, here->last_time);
    }
    if (found && found->last_commit) break;
    end = from;
  }
  return found;
}

std::optional<WalTime> RecoveryWal::first_moment(const RecoveryPath& path,
                                                 const RecoveryBase& base,
                                                 const std::stop_token& stop) {
  if (base.end_time) {
    // What lies below a microsecond must not make it earlier.
    auto time = to_wal_time(*base.end_time);
    if (time && base.end_time->nanoseconds % 1000 != 0) ++time->microseconds;
    return time;
  }
  const auto last = last_records(path, base.start, base.end, stop);
  if (!last) return std::nullopt;
  return last->last_commit ? last->last_commit : last->last_time;
}

std::string to_string(WalTime time) {
  const auto stamp = to_timestamp(time);
  using namespace std::chrono;
  const sys_seconds at{seconds(stamp.seconds)};
  const auto midnight = floor<days>(at);
  const year_month_day day(midnight);
  const hh_mm_ss clock(at - midnight);
  std::string text = fmt::format(
      "{:04}-{:02}-{:02} {:02}:{:02}:{:02}", static_cast<int>(day.year()),
      static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()),
      clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  if (stamp.nanoseconds != 0) {
    text += fmt::format(".{:06}", stamp.nanoseconds / 1000);
  }
  return text + "+00";
}

}  // namespace cairn::ingest
