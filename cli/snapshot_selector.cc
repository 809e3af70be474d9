#include "cli/snapshot_selector.h"

#include <algorithm>
#include <charconv>

#include "cli/context.h"
#include "cli/time_text.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kLeastDigits = 4;
constexpr std::size_t kMaxListed = 5;
constexpr std::string_view kLatest = "latest";

std::string_view without_slashes(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

// True if `inner` is `outer` or lies below it.
bool is_within(std::string_view inner, std::string_view outer) {
  return outer.empty() || inner == outer ||
         (inner.starts_with(outer) && inner[outer.size()] == '/');
}

std::string series_of(const repo::ValidSnapshot& valid) {
  return valid.snapshot.record ? valid.snapshot.record->series : "";
}

std::string listing(const std::vector<const repo::ValidSnapshot*>& candidates) {
  std::string text;
  for (std::size_t i = 0; i < std::min(candidates.size(), kMaxListed); ++i) {
    const auto& valid = *candidates[i];
    text += (text.empty() ? "" : ", ") + valid.snapshot.id.brief() + " (" +
            rfc3339(valid.snapshot.header.time);
    const std::string series = series_of(valid);
    text += series.empty() ? ")" : " " + series + ")";
  }
  if (candidates.size() > kMaxListed) {
    text += " and " + std::to_string(candidates.size() - kMaxListed) + " more";
  }
  return text;
}

[[noreturn]] void fail_unknown(
    const std::string& what,
    const std::vector<repo::ValidSnapshot>& snapshots) {
  std::vector<const repo::ValidSnapshot*> newest;
  for (auto at = snapshots.rbegin(); at != snapshots.rend(); ++at) {
    newest.push_back(&*at);
  }
  throw repo::NotFound(what + (newest.empty()
                                   ? "; the repository has no snapshots"
                                   : "; there are " + listing(newest)));
}

const repo::ValidSnapshot& find_by_id(
    const std::vector<repo::ValidSnapshot>& snapshots,
    const std::string& digits) {
  std::vector<const repo::ValidSnapshot*> matches;
  for (const auto& valid : snapshots) {
    if (valid.snapshot.id.hex().starts_with(digits)) matches.push_back(&valid);
  }
  if (matches.empty()) {
    fail_unknown("no snapshot's id begins with " + digits, snapshots);
  }
  if (matches.size() > 1) {
    throw repo::NotFound("several snapshots' ids begin with " + digits + ": " +
                         listing(matches));
  }
  return *matches[0];
}

const repo::ValidSnapshot& find_nth_newest(
    const std::vector<repo::ValidSnapshot>& snapshots, std::uint64_t skip) {
  if (skip >= snapshots.size()) {
    fail_unknown(
        "there are fewer than " + std::to_string(skip + 1) + " snapshots",
        snapshots);
  }
  return snapshots[snapshots.size() - 1 - static_cast<std::size_t>(skip)];
}

const repo::ValidSnapshot& find_newest_with(
    const std::vector<repo::ValidSnapshot>& snapshots, std::string_view path,
    const HasPath& has_path) {
  for (const auto wanted : {Coverage::complete, Coverage::partial}) {
    for (auto at = snapshots.rbegin(); at != snapshots.rend(); ++at) {
      if (coverage_of(at->snapshot, path) == wanted && has_path(*at, path)) {
        return *at;
      }
    }
  }
  fail_unknown("no snapshot holds " + std::string(path), snapshots);
}

}  // namespace

SnapshotName parse_snapshot_name(std::string_view text) {
  SnapshotName name;
  const std::string whole(text);
  if (text.starts_with('@')) {
    const auto parsed = parse_time_prefix(text.substr(1), Zone::local);
    if (!parsed) {
      throw repo::NotFound("'" + whole +
                           "' names no snapshot: a time is written "
                           "@2026-11-20T14:30, with Z or +01:00 after it "
                           "when it is not local");
    }
    name.which = SnapshotName::AtOrBefore{parsed->time};
    text.remove_prefix(1 + parsed->length);
    if (!text.empty() && text[0] != ':') {
      throw repo::NotFound("'" + whole + "' names no snapshot: what is '" +
                           std::string(text) + "' behind the time?");
    }
    if (!text.empty()) name.path = std::string(text.substr(1));
    return name;
  }
  const auto colon = text.find(':');
  const std::string_view word = text.substr(0, colon);
  if (colon != std::string_view::npos) {
    name.path = std::string(text.substr(colon + 1));
  }
  if (word.starts_with(kLatest)) {
    std::string_view rest = word.substr(kLatest.size());
    SnapshotName::Latest latest;
    bool is_right = rest.empty();
    if (rest.starts_with('~')) {
      rest.remove_prefix(1);
      const auto [end, error] = std::from_chars(
          rest.data(), rest.data() + rest.size(), latest.skip.emplace());
      is_right = error == std::errc() && end == rest.data() + rest.size();
    }
    if (is_right) {
      name.which = latest;
      return name;
    }
  }
  std::string digits(word);
  std::ranges::transform(digits, digits.begin(), [](char c) {
    return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const bool is_hex =
      digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hex || digits.size() < kLeastDigits) {
    throw repo::NotFound(
        "'" + whole +
        "' names no snapshot: use latest, latest~2, an id of four digits or "
        "more, or a time such as @2026-11-20T14:30");
  }
  name.which = SnapshotName::IdPrefix{digits};
  return name;
}

Coverage coverage_of(const repo::Snapshot& snapshot, std::string_view path) {
  path = without_slashes(path);
  if (!snapshot.record) {
    return snapshot.header.is_complete ? Coverage::complete : Coverage::partial;
  }
  const auto touches = [&](std::string_view place) {
    place = without_slashes(place);
    return is_within(path, place) || is_within(place, path);
  };
  Coverage coverage = Coverage::none;
  for (const auto& source : snapshot.record->sources) {
    const bool has_to_do =
        source.kind == repo::SourceKind::files
            ? std::ranges::any_of(snapshot.record->paths, touches)
            : touches(source.name);
    if (!has_to_do) continue;
    if (source.status == repo::SourceStatus::complete) {
      return Coverage::complete;
    }
    if (source.status == repo::SourceStatus::partial) {
      coverage = Coverage::partial;
    }
  }
  return coverage;
}

const repo::ValidSnapshot& find_snapshot(
    const std::vector<repo::ValidSnapshot>& snapshots, const SnapshotName& name,
    const HasPath& has_path) {
  if (const auto* const id = std::get_if<SnapshotName::IdPrefix>(&name.which)) {
    return find_by_id(snapshots, id->digits);
  }
  if (const auto* const at =
          std::get_if<SnapshotName::AtOrBefore>(&name.which)) {
    const repo::ValidSnapshot* found = nullptr;
    for (const auto& valid : snapshots) {
      if (valid.snapshot.header.time <= at->time) found = &valid;
    }
    if (!found) {
      fail_unknown("no snapshot at or before " + rfc3339(at->time), snapshots);
    }
    return *found;
  }
  const auto& latest = std::get<SnapshotName::Latest>(name.which);
  const auto path =
      without_slashes(name.path ? *name.path : std::string_view());
  if (latest.skip || path.empty()) {
    return find_nth_newest(snapshots, latest.skip.value_or(0));
  }
  return find_newest_with(snapshots, path, has_path);
}

SnapshotSelector::SnapshotSelector(Context& context,
                                   repo::Repository& repository)
    : output_(context.output),
      repository_(repository),
      list_(repository.snapshots(context.now())) {
  for (const auto& damage : list_.damage) output_.warning(damage);
}

SnapshotSelector::Selected SnapshotSelector::select(std::string_view text) {
  const SnapshotName name = parse_snapshot_name(text);
  const bool is_exact =
      std::holds_alternative<SnapshotName::IdPrefix>(name.which);
  if (!is_exact && !list_.damage.empty()) is_in_doubt_ = true;
  const auto& found = find_snapshot(
      list_.snapshots, name,
      [this](const repo::ValidSnapshot& snapshot, std::string_view path) {
        return has_path(snapshot, path);
      });
  const auto path =
      without_slashes(name.path ? *name.path : std::string_view());
  if (coverage_of(found.snapshot, path) == Coverage::partial) {
    output_.warning("snapshot " + found.snapshot.id.brief() +
                    ": not all of its source could be read");
  }
  return {found, std::string(path)};
}

bool SnapshotSelector::has_path(const repo::ValidSnapshot& snapshot,
                                std::string_view path) {
  auto blobs = repository_.blobs();
  return repo::TreeReader(blobs)
      .find({repo::BlobKind::links, snapshot.snapshot.header.root, 0}, path)
      .has_value();
}

}  // namespace cairn::cli
