#include "ingest/wal_archive.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "ingest/wal_protocol.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::string_view kWal = "/wal";
constexpr std::size_t kMaxHistoryBytes = std::size_t{1} << 20;

std::optional<StoredWal> wal_of(const repo::ValidSnapshot& valid) {
  const auto& record = valid.snapshot.record;
  if (!record || record->sources.size() != 1) return std::nullopt;
  const auto& source = record->sources.front();
  if (source.kind != repo::SourceKind::postgres_wal) return std::nullopt;
  const auto stream = parse_wal_path(source.name);
  const auto segment_bytes =
      parse_number(source.fact(wal_fact::kWalSegmentBytes).value_or(""), 10);
  if (!stream || !segment_bytes || !is_segment_size(*segment_bytes) ||
      source.bytes >
          std::numeric_limits<std::uint64_t>::max() - stream->start.value) {
    return std::nullopt;
  }
  return StoredWal{
      .stream = *stream,
      .end = {stream->start.value + source.bytes},
      .segment_bytes = *segment_bytes,
      .server_version = source.fact(wal_fact::kServerVersion).value_or(""),
      .snapshot = &valid};
}

bool is_before(const StoredWal& a, const StoredWal& b) {
  return std::tie(a.stream, a.end, a.snapshot->snapshot.header.arrival,
                  a.snapshot->snapshot.id) <
         std::tie(b.stream, b.end, b.snapshot->snapshot.header.arrival,
                  b.snapshot->snapshot.id);
}

// Of the stream, as long as the snapshot says.
std::vector<repo::Link> stream_rows(repo::Repository& repository,
                                    repo::TreeReader& trees,
                                    const StoredWal& stored) {
  const auto& snapshot = stored.snapshot->snapshot;
  const std::string path = path_of(stored.stream);
  (void)repository.index_for(snapshot.header.root);
  const auto found =
      trees.find({repo::BlobKind::links, snapshot.header.root, 0}, path);
  const std::uint64_t bytes = stored.end.value - stored.stream.start.value;
  if (!found || !repo::has_content(found->entry.type) || found->entry.weave ||
      !found->entry.holes.empty() || found->entry.size != bytes) {
    throw repo::CorruptionError("snapshot " + snapshot.id.brief() + ": " +
                                path + " is not as its record says");
  }
  return found->rows;
}

// The rows of a stream, lists not yet opened among them.
class Rows {
 public:
  Rows(repo::BlobReader& blobs, std::vector<repo::Link> rows) : blobs_(blobs) {
    levels_.push_back({std::move(rows), 0});
  }

  // Null: behind the last.
  [[nodiscard]] const repo::Link* next() {
    while (!levels_.empty()) {
      const Level& level = levels_.back();
      if (level.next < level.rows.size()) return &level.rows[level.next];
      levels_.pop_back();
    }
    return nullptr;
  }
  void skip() { ++levels_.back().next; }
  // Its rows come in the place of the list that is next.
  void open() {
    const repo::Link list = levels_.back().rows[levels_.back().next++];
    if (levels_.size() > repo::kMaxListLevels) {
      throw repo::CorruptionError("node " + list.id.brief() +
                                  ": lists nested too deeply");
    }
    const auto plain = blobs_.read(repo::BlobKind::links, list.id);
    auto rows = repo::decode_links(*plain, "node " + list.id.brief());
    if (repo::content_size(rows) != list.length) {
      throw repo::CorruptionError("node " + list.id.brief() +
                                  ": lengths do not add up");
    }
    levels_.push_back({std::move(rows), 0});
  }

 private:
  struct Level {
    std::vector<repo::Link> rows;
    std::size_t next;
  };
  repo::BlobReader& blobs_;
  std::vector<Level> levels_;
};

struct BaseBegin {
  Lsn lsn;
  std::optional<std::uint32_t> timeline;  // nothing: nobody noted it
};

// Of all base backups of the cluster. Nothing: one of them cannot be read, and
// may begin anywhere.
std::optional<std::vector<BaseBegin>> begins_of_bases(
    std::span<const repo::ValidSnapshot* const> snapshots,
    const repo::SeriesTag& bases, std::uint64_t system) {
  std::vector<BaseBegin> begins;
  for (const auto* const valid : snapshots) {
    const auto& record = valid->snapshot.record;
    if (valid->snapshot.header.series_tag != bases) continue;
    if (!record) return std::nullopt;
    for (const auto& source : record->sources) {
      if (source.kind != repo::SourceKind::postgres_base) continue;
      const auto number = [&](std::string_view fact) {
        return parse_number(source.fact(fact).value_or(""), 10);
      };
      const auto of = number(wal_fact::kSystemIdentifier);
      if (of && *of != system) continue;
      const auto lsn = parse_lsn(source.fact(wal_fact::kStartLsn).value_or(""));
      if (!of || !lsn) return std::nullopt;
      BaseBegin begin{*lsn, std::nullopt};
      const auto timeline = number(wal_fact::kTimeline);
      if (timeline && *timeline <= std::numeric_limits<std::uint32_t>::max()) {
        begin.timeline = static_cast<std::uint32_t>(*timeline);
      }
      begins.push_back(begin);
    }
  }
  return begins;
}

std::optional<Lsn> oldest_of(std::span<const BaseBegin> begins) {
  if (begins.empty()) return std::nullopt;
  return std::ranges::min(begins, {}, &BaseBegin::lsn).lsn;
}

// What both share is not opened, so that it costs what is different.
bool begins_with(repo::BlobReader& blobs, std::vector<repo::Link> longer,
                 std::vector<repo::Link> shorter) {
  Rows theirs(blobs, std::move(longer));
  Rows ours(blobs, std::move(shorter));
  while (const repo::Link* const own = ours.next()) {
    const repo::Link* const other = theirs.next();
    if (other == nullptr) return false;
    const bool is_list = other->kind == repo::BlobKind::links;
    if (*own == *other) {
      ours.skip();
      theirs.skip();
    } else if (is_list && (own->kind != repo::BlobKind::links ||
                           own->length <= other->length)) {
      theirs.open();
    } else if (own->kind == repo::BlobKind::links) {
      ours.open();
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

std::vector<StoredWal> find_wal(std::span<const repo::ValidSnapshot> snapshots,
                                const repo::SeriesTag& series) {
  std::vector<StoredWal> found;
  for (const auto& valid : snapshots) {
    if (valid.snapshot.header.series_tag != series) continue;
    if (auto stored = wal_of(valid)) found.push_back(std::move(*stored));
  }
  std::ranges::sort(found, is_before);
  return found;
}

std::optional<std::string> series_of_bases(std::string_view wal_series) {
  if (!wal_series.ends_with(kWal)) return std::nullopt;
  return std::string(wal_series.substr(0, wal_series.size() - kWal.size()));
}

std::optional<Lsn> oldest_needed_wal(
    std::span<const repo::ValidSnapshot* const> snapshots,
    const repo::SeriesTag& bases, std::uint64_t system) {
  const auto begins = begins_of_bases(snapshots, bases, system);
  return begins ? oldest_of(*begins) : std::nullopt;
}

std::optional<Lsn> end_of_needless_wal(
    std::span<const repo::ValidSnapshot* const> snapshots,
    const repo::SeriesTag& bases, std::uint64_t system, std::uint32_t timeline,
    const HistoryOf& history_of) {
  const auto begins = begins_of_bases(snapshots, bases, system);
  const auto oldest = begins ? oldest_of(*begins) : std::nullopt;
  if (!oldest) return std::nullopt;
  std::set<std::uint32_t> timelines;
  for (const auto& begin : *begins) {
    if (begin.timeline) timelines.insert(*begin.timeline);
  }
  if (timelines.contains(timeline)) return oldest;
  std::optional<Lsn> fork;
  for (auto later = timelines.upper_bound(timeline); later != timelines.end();
       ++later) {
    const auto history = history_of(*later);
    if (!history) continue;
    for (const auto& ended : parse_timeline_history(*history)) {
      if (ended.timeline != timeline) continue;
      fork = std::min(fork.value_or(ended.end), ended.end);
    }
  }
  if (!fork) return std::nullopt;
  return std::min(*oldest, *fork);
}

namespace {

// Nothing: none is stored, or it cannot be read.
std::optional<std::string> stored_history(WalReader& reader,
                                          std::uint32_t timeline) {
  try {
    return reader.history(timeline);
  } catch (const repo::CorruptionError&) {
    return std::nullopt;
  } catch (const repo::NotFound&) {
    return std::nullopt;
  }
}

// Of each of `all`, which are of one series, whether no base needs it.
void find_needless(repo::Repository& repository,
                   std::span<const repo::ValidSnapshot* const> snapshots,
                   std::vector<StoredWal>& all,
                   std::vector<CoveredWal>& covered) {
  const auto& record = all.front().snapshot->snapshot.record;
  const auto bases = series_of_bases(record->series);
  if (!bases) return;
  const auto tag = repo::series_tag(repository.keyring(), *bases);
  const auto of_all = all;
  const auto find_end = [&](const WalStreamId& stream) {
    auto of_system = of_all;
    std::erase_if(of_system, [&](const StoredWal& one) {
      return one.stream.system != stream.system;
    });
    WalReader reader(repository, std::move(of_system));
    return end_of_needless_wal(
        snapshots, tag, stream.system, stream.timeline,
        [&](std::uint32_t later) { return stored_history(reader, later); });
  };
  // By system and timeline.
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::optional<Lsn>> ends;
  std::erase_if(all, [&](const StoredWal& one) {
    const std::pair key(one.stream.system, one.stream.timeline);
    if (!ends.contains(key)) ends[key] = find_end(one.stream);
    const auto& end = ends[key];
    if (!end || one.end > *end) return false;
    covered.push_back({one.snapshot->snapshot.id, std::nullopt});
    return true;
  });
}

}  // namespace

std::vector<CoveredWal> find_covered_wal(
    repo::Repository& repository,
    std::span<const repo::ValidSnapshot* const> snapshots) {
  std::map<repo::SeriesTag, std::vector<StoredWal>> by_series;
  for (const auto* const valid : snapshots) {
    if (auto stored = wal_of(*valid)) {
      by_series[valid->snapshot.header.series_tag].push_back(
          std::move(*stored));
    }
  }
  auto blobs = repository.blobs();
  repo::TreeReader trees(blobs);
  std::vector<CoveredWal> covered;
  for (auto& [series, all] : by_series) {
    find_needless(repository, snapshots, all, covered);
    std::ranges::sort(all, is_before);
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      // The last of its stream, which no other one can cover, is looked at
      // first; those before it, should that be a forged one.
      std::size_t last = i;
      while (last + 1 < all.size() && all[last + 1].stream == all[i].stream) {
        ++last;
      }
      for (std::size_t j = last; j > i; --j) {
        try {
          const auto longer = stream_rows(repository, trees, all[j]);
          const auto rows = stream_rows(repository, trees, all[i]);
          if (!begins_with(blobs, longer, rows)) continue;
        } catch (const repo::CorruptionError&) {
          continue;  // then it stays, and `check` tells of it
        } catch (const repo::NotFound&) {
          continue;
        }
        covered.push_back(
            {all[i].snapshot->snapshot.id, all[j].snapshot->snapshot.id});
        break;
      }
    }
  }
  return covered;
}

WalReader::WalReader(repo::Repository& repository,
                     std::vector<StoredWal> stored)
    : repository_(repository),
      stored_(std::move(stored)),
      blobs_(repository.blobs()),
      trees_(blobs_) {
  std::ranges::sort(stored_, is_before);
}

std::vector<WalReader::Range> WalReader::ranges(std::uint32_t timeline) const {
  std::vector<Range> ranges;
  for (const auto& stored : stored_) {  // by start
    if (stored.stream.timeline != timeline) continue;
    if (!ranges.empty() && stored.stream.start <= ranges.back().end) {
      ranges.back().end = std::max(ranges.back().end, stored.end);
    } else {
      ranges.push_back({stored.stream.start, stored.end});
    }
  }
  return ranges;
}

const StoredWal* WalReader::find(std::uint32_t timeline, Lsn lsn) const {
  const StoredWal* best = nullptr;
  for (const auto& stored : stored_) {
    const bool has_it = stored.stream.timeline == timeline &&
                        stored.stream.start <= lsn && lsn < stored.end;
    if (has_it && (best == nullptr || best->end < stored.end)) best = &stored;
  }
  return best;
}

std::vector<repo::Link> WalReader::rows_of(const StoredWal& stored) {
  return stream_rows(repository_, trees_, stored);
}

WalReader::OpenStream& WalReader::open(const StoredWal& stored) {
  const auto& id = stored.snapshot->snapshot.id;
  const auto known = open_.find(id);
  if (known != open_.end()) return known->second;
  return open_
      .try_emplace(id, OpenStream{repo::StreamCursor(blobs_, rows_of(stored)),
                                  std::nullopt, nullptr})
      .first->second;
}

std::size_t WalReader::read_chunk(OpenStream& stream, std::uint64_t offset,
                                  std::span<std::byte> out) {
  const bool is_at_hand = stream.place && offset >= stream.place->offset &&
                          offset - stream.place->offset < stream.place->length;
  if (!is_at_hand) {
    stream.place.reset();
    const auto place = stream.cursor.at(offset);
    if (!place) throw repo::CorruptionError("WAL: a stream ends too early");
    stream.plain = blobs_.read(repo::BlobKind::content, place->id);
    if (stream.plain->size() != place->length) {
      throw repo::CorruptionError(
          "blob " + place->id.brief() +
          ": is not as long as the node says that names it");
    }
    stream.place = place;
  }
  const auto within = static_cast<std::size_t>(offset - stream.place->offset);
  const std::size_t count = std::min(out.size(), stream.plain->size() - within);
  std::copy_n(stream.plain->data() + within, count, out.begin());
  return count;
}

std::size_t WalReader::read(std::uint32_t timeline, Lsn lsn,
                            std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const Lsn at{lsn.value + done};
    const StoredWal* const stored = find(timeline, at);
    if (stored == nullptr) break;
    done += read_chunk(open(*stored), at.value - stored->stream.start.value,
                       out.subspan(done));
  }
  return done;
}

std::optional<std::string> WalReader::history(std::uint32_t timeline) {
  for (const auto& stored : stored_) {
    if (stored.stream.timeline < timeline) continue;
    const auto path = path_of(stored.stream);
    const auto system = path.substr(0, path.find('/', path.find('/') + 1) + 1);
    const auto& root = stored.snapshot->snapshot.header.root;
    (void)repository_.index_for(root);
    const auto found = trees_.find({repo::BlobKind::links, root, 0},
                                   system + history_name(timeline));
    if (!found || !repo::has_content(found->entry.type) ||
        found->entry.size > kMaxHistoryBytes) {
      continue;
    }
    std::string content;
    trees_.for_each_chunk(found->rows, [&](const repo::Link& chunk) {
      const auto plain = blobs_.read(repo::BlobKind::content, chunk.id);
      const auto* const text = reinterpret_cast<const char*>(plain->data());
      content.append(text, plain->size());
      return content.size() > kMaxHistoryBytes ? repo::Visit::stop
                                               : repo::Visit::go_on;
    });
    if (content.size() == found->entry.size) return content;
  }
  return std::nullopt;
}

}  // namespace cairn::ingest
