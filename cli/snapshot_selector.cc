#include "cli/snapshot_selector.h"

#include <algorithm>
#include <charconv>
#include <exception>

#include "cli/context.h"
#include "cli/quantity.h"
#include "cli/source_coverage.h"
#include "cli/time_text.h"
#include "cli/tree_path.h"
#include "repo/error.h"
#include "repo/tree_reader.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kLeastDigits = 4;
constexpr std::size_t kMaxListed = 5;
constexpr std::string_view kLatest = "latest";

// Whether what a slot says of itself lets it be one that is looked for.
using Possible = std::function<bool(const repo::SnapshotClaim& claim)>;

// The snapshots that a name may mean, newest first. One is verified when it is
// reached, unless its slot says itself that it is none of them.
class Candidates {
 public:
  // Borrows the first three.
  Candidates(repo::SnapshotHistory& history, const SnapshotName& name,
             const std::optional<Series>& series, Possible possible)
      : history_(history),
        series_(series),
        possible_(std::move(possible)),
        // Who names an id or a series may mean WAL.
        wants_wal_(series ||
                   std::holds_alternative<SnapshotName::IdPrefix>(name.which)) {
  }

  // Null: there are no more.
  [[nodiscard]] const repo::ValidSnapshot* next() {
    while (at_ < history_.claims().size()) {
      const std::size_t i = at_++;
      const auto& claim = history_.claims()[i];
      if (series_ && !series_->holds(claim.header)) continue;
      if (!possible_(claim)) continue;
      const auto* const valid = history_.find_valid(i);
      if (!valid || (!wants_wal_ && is_of_wal(valid->snapshot))) continue;
      return valid;
    }
    return nullptr;
  }

 private:
  repo::SnapshotHistory& history_;
  const std::optional<Series>& series_;
  Possible possible_;
  bool wants_wal_;
  std::size_t at_ = 0;  // in the claims
};

using Snapshots = std::vector<const repo::ValidSnapshot*>;

Snapshots rest_of(Candidates candidates) {
  Snapshots all;
  while (const auto* const valid = candidates.next()) all.push_back(valid);
  return all;
}

// Where a name is looked up. Borrows all of them.
struct Place {
  repo::SnapshotHistory& history;
  const SnapshotName& name;
  const std::optional<Series>& series;

  [[nodiscard]] Candidates candidates(Possible possible) const {
    return {history, name, series, std::move(possible)};
  }

  // What is counted back from the newest.
  [[nodiscard]] Candidates counted() const {
    const auto* const at = std::get_if<SnapshotName::AtOrBefore>(&name.which);
    return candidates([at](const repo::SnapshotClaim& claim) {
      return !at || !(at->time < claim.header.time);
    });
  }

  [[nodiscard]] Snapshots all() const {
    return rest_of(candidates([](const auto&) { return true; }));
  }
};

std::string listing(const Snapshots& snapshots) {
  std::string text;
  for (std::size_t i = 0; i < std::min(snapshots.size(), kMaxListed); ++i) {
    const auto& snapshot = snapshots[i]->snapshot;
    text += (text.empty() ? "" : ", ") + snapshot.id.brief() + " (" +
            rfc3339(snapshot.header.time) +
            (snapshot.record ? " " + snapshot.record->series + ")" : ")");
  }
  if (snapshots.size() > kMaxListed) {
    text += " and " + std::to_string(snapshots.size() - kMaxListed) + " more";
  }
  return text;
}

[[noreturn]] void fail_unknown(const std::string& what, const Place& place) {
  const Snapshots newest = place.all();
  throw repo::NotFound(what + (newest.empty()
                                   ? "; there are no snapshots to look in"
                                   : "; there are " + listing(newest)));
}

const repo::ValidSnapshot& find_by_id(const Place& place,
                                      const std::string& digits) {
  Snapshots matches =
      rest_of(place.candidates([&](const repo::SnapshotClaim& claim) {
        return claim.id.hex().starts_with(digits);
      }));
  if (matches.empty()) {
    fail_unknown("no snapshot's id begins with " + digits, place);
  }
  if (matches.size() > 1) {
    std::ranges::reverse(matches);
    throw repo::NotFound("several snapshots' ids begin with " + digits + ": " +
                         listing(matches));
  }
  return *matches[0];
}

std::string_view path_in(const SnapshotName& name) {
  return name.path ? without_slashes(*name.path) : std::string_view();
}

std::string description(const SnapshotName& name) {
  std::string text;
  if (!path_in(name).empty()) text += " that holds " + *name.path;
  if (const auto* const at =
          std::get_if<SnapshotName::AtOrBefore>(&name.which)) {
    text += " at or before " + rfc3339(at->time);
  }
  return text;
}

const repo::ValidSnapshot& find_by_counting(const Place& place,
                                            const HasPath& has_path) {
  const SnapshotName& name = place.name;
  const auto* const latest = std::get_if<SnapshotName::Latest>(&name.which);
  const std::uint64_t skip = latest ? latest->skip : 0;
  const auto path = path_in(name);
  std::uint64_t count = 0;
  std::exception_ptr damage;
  // A damaged one of which nobody says that it holds the path is in no other
  // one's way.
  const auto holds_it = [&](const repo::ValidSnapshot& valid) {
    try {
      return has_path(valid, path);
    } catch (const repo::CorruptionError&) {
      if (coverage_of(valid.snapshot, path) != Coverage::none) throw;
      if (!damage) damage = std::current_exception();
      return false;
    }
  };
  for (const bool wanted : {true, false}) {
    Candidates candidates = place.counted();
    while (const auto* const valid = candidates.next()) {
      if (!path.empty() &&
          (is_whole(valid->snapshot, path) != wanted || !holds_it(*valid))) {
        continue;
      }
      if (count++ == skip) return *valid;
    }
    if (count > 0) {
      fail_unknown("no more than " + counted(count, "snapshot") + " to count" +
                       description(name),
                   place);
    }
  }
  if (damage) std::rethrow_exception(damage);
  fail_unknown("no snapshot" + description(name), place);
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
    name.which = SnapshotName::AtOrBefore{parsed->end};
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
    SnapshotName::Latest latest{0};
    bool is_right = rest.empty();
    if (rest.starts_with('~')) {
      rest.remove_prefix(1);
      const auto [end, error] =
          std::from_chars(rest.data(), rest.data() + rest.size(), latest.skip);
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

bool is_latest(std::string_view text) {
  return std::holds_alternative<SnapshotName::Latest>(
      parse_snapshot_name(text).which);
}

const repo::ValidSnapshot& find_snapshot(repo::SnapshotHistory& history,
                                         const SnapshotName& name,
                                         const std::optional<Series>& series,
                                         const HasPath& has_path) {
  const Place place{history, name, series};
  if (const auto* const id = std::get_if<SnapshotName::IdPrefix>(&name.which)) {
    return find_by_id(place, id->digits);
  }
  return find_by_counting(place, has_path);
}

const repo::ValidSnapshot* find_newer_partial(
    repo::SnapshotHistory& history, const SnapshotName& name,
    const std::optional<Series>& series, const repo::ValidSnapshot& found,
    const HasPath& has_path) {
  const auto path = path_in(name);
  if (path.empty() ||
      std::holds_alternative<SnapshotName::IdPrefix>(name.which) ||
      !is_whole(found.snapshot, path)) {
    return nullptr;
  }
  Candidates candidates = Place{history, name, series}.counted();
  while (const auto* const valid = candidates.next()) {
    if (valid == &found) break;
    if (!is_whole(valid->snapshot, path) && has_path(*valid, path)) {
      return valid;
    }
  }
  return nullptr;
}

SnapshotSelector::SnapshotSelector(Context& context,
                                   repo::Repository& repository,
                                   const std::optional<std::string>& series)
    : output_(context.output),
      repository_(repository),
      history_(
          repository.history(context.now(), [this](const std::string& what) {
            damage_.push_back(what);
            output_.warning(what);
          })) {
  if (!series) return;
  series_.emplace(*series, repository.keyring());
  warn_if_series_unknown();
}

void SnapshotSelector::warn_if_series_unknown() {
  for (std::size_t i = 0; i < history_.claims().size(); ++i) {
    if (series_->holds(history_.claims()[i].header) && history_.find_valid(i)) {
      return;
    }
  }
  series_->warn_that_unknown(history_.all(), output_);
}

SnapshotSelector::Selected SnapshotSelector::select(std::string_view text) {
  const SnapshotName name = parse_snapshot_name(text);
  const auto& found = find_snapshot(
      history_, name, series_,
      [this](const repo::ValidSnapshot& snapshot, std::string_view path) {
        return has_path(snapshot, path);
      });
  const bool is_exact =
      std::holds_alternative<SnapshotName::IdPrefix>(name.which);
  if (!is_exact && !damage_.empty()) is_in_doubt_ = true;
  warn_of_what_is_partial(name, found);
  return {found, std::string(path_in(name)), name.path.value_or("")};
}

void SnapshotSelector::warn_of_what_is_partial(
    const SnapshotName& name, const repo::ValidSnapshot& found) {
  if (!is_whole(found.snapshot, path_in(name))) {
    const auto lacks = what_it_lacks(found.snapshot, path_in(name));
    output_.warning("snapshot " + found.snapshot.id.brief() + " is incomplete" +
                    (lacks.empty() ? "" : ": " + lacks));
  }
  const auto* const newer = find_newer_partial(
      history_, name, series_, found,
      [this](const repo::ValidSnapshot& snapshot, std::string_view path) {
        try {
          return has_path(snapshot, path);
        } catch (const repo::Error&) {
          return false;  // a damaged one stands in no other one's way
        }
      });
  if (!newer) return;
  output_.warning("snapshot " + newer->snapshot.id.brief() + " of " +
                  local_time_text(newer->snapshot.header.time) +
                  " is newer than " + found.snapshot.id.brief() +
                  " and holds it too, but not all of its sources could be "
                  "read; name it to have it");
}

repo::TreeEntry SnapshotSelector::entry_at(const Selected& selected) {
  const auto& snapshot = selected.snapshot.snapshot;
  auto blobs = repository_.blobs();
  auto entry = repo::TreeReader(blobs).find(
      {repo::BlobKind::links, snapshot.header.root, 0}, selected.path);
  if (!entry) {
    throw repo::NotFound("snapshot " + snapshot.id.brief() + " holds no " +
                         selected.path_given + "; 'cairn ls " +
                         snapshot.id.brief() + "' lists what it holds");
  }
  return std::move(*entry);
}

std::vector<const repo::ValidSnapshot*> SnapshotSelector::all() {
  return history_.all();
}

std::vector<const repo::ValidSnapshot*> SnapshotSelector::of_series() {
  auto snapshots = history_.all();
  std::erase_if(snapshots, [&](const auto* const valid) {
    return series_ && !series_->holds(valid->snapshot);
  });
  return snapshots;
}

bool SnapshotSelector::has_path(const repo::ValidSnapshot& snapshot,
                                std::string_view path) {
  auto blobs = repository_.blobs();
  return repo::TreeReader(blobs)
      .find({repo::BlobKind::links, snapshot.snapshot.header.root, 0}, path)
      .has_value();
}

}  // namespace cairn::cli
