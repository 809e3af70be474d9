#include "ingest/wal_fetch.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <span>
#include <utility>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;

// Of what the repository holds of the series, so that what it does not hold is
// known not to be there. Empty: all.
std::string what_is_not_known(const repo::SnapshotList& list,
                              const repo::SeriesTag& tag, std::size_t known) {
  if (!list.damage.empty()) return list.damage.front();
  std::size_t all = 0;
  for (const auto& valid : list.snapshots) {
    if (valid.snapshot.header.series_tag == tag) ++all;
  }
  if (all == known) return {};
  return "of " + std::to_string(all) + " snapshots of the series, " +
         std::to_string(all - known) +
         " cannot be read with this key, or hold something else than WAL";
}

}  // namespace

WalFetch::WalFetch(repo::Repository& repository, const repo::SnapshotList& list,
                   const Where& where)
    : spools_(where.spools) {
  const auto tag = repo::series_tag(repository.keyring(), where.series);
  auto found = find_wal(list.snapshots, tag);
  uncertainty_ = what_is_not_known(list, tag, found.size());
  std::set<std::uint64_t> systems;
  for (const auto& one : found) systems.insert(one.stream.system);
  if (systems.empty()) {
    throw repo::NotFound("there is no WAL in series " + where.series +
                         (uncertainty_.empty() ? "" : "; " + uncertainty_));
  }
  if (!where.system && systems.size() > 1) {
    throw repo::NotFound(
        "series " + where.series + " has WAL of " +
        std::to_string(systems.size()) +
        " clusters; --system names one, or run this in the data directory");
  }
  system_ = where.system.value_or(*systems.begin());
  if (!systems.contains(system_)) {
    throw repo::NotFound("series " + where.series + " has no WAL of cluster " +
                         std::to_string(system_) + ", but of " +
                         std::to_string(*systems.begin()) +
                         (systems.size() > 1 ? " and others" : "") +
                         "; --series names the one where it is");
  }
  std::erase_if(found, [this](const StoredWal& one) {
    return one.stream.system != system_;
  });
  segment_bytes_ = found.front().segment_bytes;
  const bool is_one_size = std::ranges::all_of(found, [this](const auto& one) {
    return one.segment_bytes == segment_bytes_;
  });
  if (!is_one_size) {
    throw repo::CorruptionError(
        "series " + where.series +
        ": snapshots disagree on the size of segments of cluster " +
        std::to_string(system_));
  }
  reader_.emplace(repository, std::move(found));
}

Lsn WalFetch::begin_of(const WalFileName& name) const {
  const auto begin = name.begin(segment_bytes_);
  if (!begin) {
    throw repo::NotFound(name.text + ": a cluster whose segments have " +
                         std::to_string(segment_bytes_) +
                         " bytes has none of that name");
  }
  return *begin;
}

std::uint64_t WalFetch::stored(const WalFileName& name) const {
  const Lsn begin = begin_of(name);
  for (const auto& range : reader_->ranges(name.timeline)) {
    if (range.begin <= begin && begin < range.end) {
      return std::min(range.end.value - begin.value, segment_bytes_);
    }
  }
  return 0;
}

std::optional<SpooledSegment> WalFetch::spooled(const WalFileName& name) const {
  return find_spooled_segment(spools_ / std::to_string(system_), name,
                              segment_bytes_);
}

void WalFetch::require_certainty() const {
  if (!uncertainty_.empty()) throw repo::CorruptionError(uncertainty_);
}

std::uint64_t WalFetch::available(const WalFileName& name) {
  const auto local = spooled(name);
  const auto bytes = std::max(stored(name), local ? local->bytes : 0);
  if (bytes < segment_bytes_) require_certainty();
  return bytes;
}

void WalFetch::read(const WalFileName& name, const Use& use) {
  const Lsn begin = begin_of(name);
  const auto local = spooled(name);
  const auto in_repository = stored(name);
  std::vector<std::byte> buffer(kPiece);
  const auto in_pieces = [&](std::uint64_t bytes, auto read_piece) {
    for (std::uint64_t done = 0; done < bytes;) {
      const auto part = std::span(buffer).first(static_cast<std::size_t>(
          std::min<std::uint64_t>(kPiece, bytes - done)));
      read_piece(done, part);
      use(part);
      done += part.size();
    }
  };
  if (local && local->bytes > in_repository) {
    std::ifstream in(local->path, std::ios::binary);
    in_pieces(local->bytes, [&](std::uint64_t, std::span<std::byte> part) {
      if (!in.read(reinterpret_cast<char*>(part.data()),
                   static_cast<std::streamsize>(part.size()))) {
        throw repo::IoError(local->path.string() +
                            ": went while it was read; ask again");
      }
    });
    return;
  }
  in_pieces(in_repository, [&](std::uint64_t at, std::span<std::byte> part) {
    if (reader_->read(name.timeline, {begin.value + at}, part) < part.size()) {
      throw repo::CorruptionError(name.text +
                                  ": ends earlier than its snapshot says");
    }
  });
}

std::vector<WalFileName> WalFetch::following(const WalFileName& name,
                                             std::size_t most) {
  std::vector<WalFileName> next;
  Lsn at = begin_of(name);
  while (next.size() < most) {
    at.value += segment_bytes_;
    auto one =
        parse_wal_file_name(segment_name(name.timeline, at, segment_bytes_));
    if (!one || stored(*one) < segment_bytes_) break;
    next.push_back(std::move(*one));
  }
  return next;
}

std::optional<WalReader::Range> WalFetch::gap_at(const WalFileName& name) {
  const Lsn begin = begin_of(name);
  WalReader::Range gap{begin, {}};
  bool has_before = false;
  for (const auto& range : reader_->ranges(name.timeline)) {
    if (range.end <= begin) {
      gap.begin = range.end;
      has_before = true;
    } else if (begin < range.begin) {
      gap.end = range.begin;
      return has_before ? std::optional(gap) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<std::string> WalFetch::history(std::uint32_t timeline) {
  if (auto local =
          find_spooled_history(spools_ / std::to_string(system_), timeline)) {
    return local;
  }
  auto stored = reader_->history(timeline);
  if (!stored) require_certainty();
  return stored;
}

}  // namespace cairn::ingest
