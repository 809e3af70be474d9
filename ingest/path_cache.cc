#include "ingest/path_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "crypto/digest.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"

namespace cairn::ingest {
namespace {

constexpr char kPathPrefix = 'f';
// The first letter is nobody else's (feature_table.cc, repo/index_cache.h).
constexpr const char* kCountsKey = "w";
// Of the folder and of the name in it: what a walk asks for in a row lies
// together.
constexpr std::size_t kDigestBytes = 8;

void append_digest(std::string_view text, std::string& key) {
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  key.append(reinterpret_cast<const char*>(digest.data()), kDigestBytes);
}

// Behind what is said of a path. Rows that changed in memory on their way into
// the cache would be trusted for as long as the file stays as it is.
using ValueSum = std::array<char, sizeof(XXH64_hash_t)>;

ValueSum sum_of(std::string_view value) {
  const XXH64_hash_t hash = XXH3_64bits(value.data(), value.size());
  ValueSum sum;
  std::memcpy(sum.data(), &hash, sum.size());
  return sum;
}

constexpr std::size_t kFileFields = 5;  // and null, where it is not settled

void write_file_state(repo::CborWriter& out, const FileState& file) {
  out.uint(file.size);
  repo::write_time(out, file.modified);
  repo::write_time(out, file.changed);
  out.uint(file.device).uint(file.inode);
}

FileState read_file_state(repo::CborReader& in) {
  FileState file;
  file.size = in.uint();
  file.modified = repo::read_time(in);
  file.changed = repo::read_time(in);
  file.device = in.uint();
  file.inode = in.uint();
  return file;
}

std::string encode(const PathState& state) {
  repo::CborWriter out;
  out.bytes(state.snapshot.bytes);
  if (state.older_snapshot) {
    out.bytes(state.older_snapshot->bytes);
  } else {
    out.null();
  }
  if (state.settled_state) {
    write_file_state(out.array(kFileFields), *state.settled_state);
  } else if (state.unsettled_state) {
    write_file_state(out.array(kFileFields + 1), *state.unsettled_state);
    out.null();
  } else {
    out.null();
  }
  if (state.era) {
    out.uint(*state.era);
  } else {
    out.null();
  }
  out.array(state.packs.packs.size());
  for (const auto pack : state.packs.packs) out.uint(pack);
  out.uint(static_cast<std::uint64_t>(state.profile));
  if (state.weave) {
    out.array(1 + state.weave->parts.size()).bytes(state.weave->digest);
    for (const auto size : state.weave->parts) out.uint(size);
  } else {
    out.null();
  }
  out.array(state.holes.size());
  for (const auto& hole : state.holes) out.uint(hole.offset).uint(hole.size);
  out.bytes(state.rows.empty() ? std::vector<std::byte>()
                               : repo::encode_links(state.rows));
  const auto& bytes = out.view();
  std::string value(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const ValueSum sum = sum_of(value);
  value.append(sum.data(), sum.size());
  return value;
}

// Paths that the store holds, as far as is known, and how often one was written
// since they were counted.
struct PathCounts {
  std::uint64_t paths = 0;
  std::uint64_t written = 0;
};

std::string encode(const PathCounts& counts) {
  repo::CborWriter out;
  out.array(2).uint(counts.paths).uint(counts.written);
  const auto& bytes = out.view();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

PathCounts decode_counts(std::string_view value) {
  repo::CborReader in(std::as_bytes(std::span(value)), "path cache");
  PathCounts counts;
  if (in.array(2) != 2) in.fail("two numbers are due");
  counts.paths = in.uint();
  counts.written = in.uint();
  in.end();
  return counts;
}

PathState decode(std::string_view stored) {
  const auto value = stored.substr(
      0, stored.size() - std::min(stored.size(), sizeof(ValueSum)));
  const ValueSum sum = sum_of(value);
  if (stored.substr(value.size()) != std::string_view(sum.data(), sum.size())) {
    throw repo::CorruptionError("path cache: a value is not what was written");
  }
  repo::CborReader in(std::as_bytes(std::span(value)), "path cache");
  PathState state;
  state.snapshot.bytes = in.fixed<repo::SessionId::kBytes>();
  if (!in.skip_null()) {
    state.older_snapshot = repo::SessionId{in.fixed<repo::SessionId::kBytes>()};
  }
  if (!in.skip_null()) {
    const bool is_settled = in.array(kFileFields + 1) == kFileFields;
    (is_settled ? state.settled_state : state.unsettled_state) =
        read_file_state(in);
    if (!is_settled && !in.skip_null()) in.fail("null is due");
  }
  if (!in.skip_null()) state.era = in.uint();
  for (auto n = in.array(repo::PackNotes::kMost); n > 0; --n) {
    state.packs.packs.push_back(
        static_cast<std::uint32_t>(in.uint(~std::uint32_t{0})));
  }
  state.profile = static_cast<repo::Profile>(
      in.uint(static_cast<std::uint64_t>(repo::Profile::page)));
  if (!in.skip_null()) {
    auto& weave = state.weave.emplace();
    const auto items = in.array(1 + repo::kMaxWeaveParts);
    weave.digest = in.fixed<std::tuple_size_v<repo::WeaveDigest>>();
    for (std::size_t i = 1; i < items; ++i) weave.parts.push_back(in.uint());
  }
  for (auto n = in.array(value.size()); n > 0; --n) {
    const auto offset = in.uint();
    state.holes.push_back({offset, in.uint()});
  }
  const auto rows = in.bytes(value.size());
  if (!rows.empty()) state.rows = repo::decode_links(rows, "path cache");
  in.end();
  return state;
}

// False also of what cannot be read.
bool is_of(std::string_view value, const std::set<repo::SessionId>& snapshots) {
  try {
    const auto state = decode(value);
    return snapshots.contains(state.snapshot) ||
           (state.older_snapshot && snapshots.contains(*state.older_snapshot));
  } catch (const repo::Error&) {
    return false;
  }
}

}  // namespace

PathCache::PathCache(repo::IndexStore& store, std::string_view series)
    : store_(store), series_(series) {}

std::string PathCache::key_of(std::string_view path) const {
  const std::size_t name = path.rfind('/') + 1;
  std::string key(1, kPathPrefix);
  append_digest(series_ + '\0' + std::string(path.substr(0, name)), key);
  append_digest(path.substr(name), key);
  return key;
}

std::optional<PathState> PathCache::find(std::string_view path) const {
  try {
    const auto value = store_.get(key_of(path));
    return value ? std::optional(decode(*value)) : std::nullopt;
  } catch (const repo::Error&) {
    return std::nullopt;  // damaged, or written by another version
  }
}

void PathCache::remember(std::string_view path, const PathState& state) {
  pending_.emplace_back(key_of(path), encode(state));
  pending_bytes_ += sizeof pending_.back() + pending_.back().second.size();
}

void PathCache::flush(repo::IndexStore::Writer& writer) {
  for (const auto& [key, value] : pending_) writer.put(key, value);
  flushed_ += pending_.size();
  pending_.clear();
  pending_bytes_ = 0;
}

void PathCache::drop_what_is_gone(repo::IndexStore::Writer& writer,
                                  const Valid& valid) {
  constexpr std::uint64_t kWorthIt = std::uint64_t{1} << 18;
  constexpr std::uint64_t kTimesAll = 16;
  if (flushed_ == 0) return;
  PathCounts counts;
  try {
    if (const auto value = writer.get(kCountsKey)) {
      counts = decode_counts(*value);
    }
  } catch (const repo::CorruptionError&) {
    counts.written = kWorthIt;
  }
  counts.written += std::exchange(flushed_, 0);
  if (counts.written >= std::max(kWorthIt, kTimesAll * counts.paths)) {
    const auto snapshots = valid();
    counts = {};
    writer.for_each(std::string(1, kPathPrefix),
                    [&](std::string_view key, std::string_view value) {
                      if (is_of(value, snapshots)) {
                        ++counts.paths;
                      } else {
                        writer.remove(key);
                      }
                      return repo::IndexStore::Next::go_on;
                    });
  }
  writer.put(kCountsKey, encode(counts));
}

}  // namespace cairn::ingest
