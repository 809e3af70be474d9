#include "cli/source_coverage.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <vector>

#include "cli/quantity.h"
#include "cli/tree_path.h"

namespace cairn::cli {
namespace {

using repo::SourceKind;
using repo::SourceReport;
using repo::SourceStatus;

constexpr std::size_t kMaxListed = 5;

using Reports = std::vector<const SourceReport*>;

// Calls `visit` with each place that the record names, once for each source
// that it may be of.
//
// The paths of the sources of files come in the order of these, one or more for
// each: before a path, and behind it, there is one for each source before, or
// behind, its own.
template <typename Visit>
void for_each_place(const repo::SnapshotRecord& record, const Visit& visit) {
  Reports sources;                    // of files
  std::set<std::string_view> others;  // by their names, which are their places
  for (const auto& source : record.sources) {
    if (source.kind == SourceKind::files) {
      sources.push_back(&source);
    } else {
      others.insert(source.name);
      visit(source.name, source);
    }
  }
  std::vector<std::string_view> paths;
  std::ranges::copy_if(
      record.paths, std::back_inserter(paths),
      [&](const auto& path) { return !others.contains(path); });
  for (std::size_t i = 0; i < paths.size(); ++i) {
    for (std::size_t k = 0; k < sources.size(); ++k) {
      const bool may_be_of_it =
          k <= i && sources.size() - k <= paths.size() - i;
      if (may_be_of_it) visit(paths[i], *sources[k]);
    }
  }
}

struct Said {
  bool is_spoken_of = false;
  Reports lacking;  // of which something is not there, or may not be
};

Said said_of(const repo::SnapshotRecord& record, std::string_view path) {
  Said said;
  for_each_place(
      record, [&](std::string_view place, const SourceReport& source) {
        place = without_slashes(place);
        const bool is_inside = is_within(path, place);
        if (!is_inside && !is_within(place, path)) return;
        if (is_inside && source.status == SourceStatus::failed) return;
        said.is_spoken_of = true;
        if (source.status != SourceStatus::complete &&
            std::ranges::find(said.lacking, &source) == said.lacking.end()) {
          said.lacking.push_back(&source);
        }
      });
  return said;
}

Reports incomplete_ones(const repo::SnapshotRecord& record) {
  Reports all;
  for (const auto& source : record.sources) {
    if (source.status != SourceStatus::complete) all.push_back(&source);
  }
  return all;
}

std::string text_of(const SourceReport& source) {
  if (!source.message.empty()) return source.name + ": " + source.message;
  return source.name + (source.status == SourceStatus::failed
                            ? ": failed"
                            : ": read only in part");
}

}  // namespace

Coverage coverage_of(const repo::Snapshot& snapshot, std::string_view path) {
  path = without_slashes(path);
  if (!snapshot.record || path.empty()) {
    return snapshot.header.is_complete ? Coverage::complete : Coverage::partial;
  }
  const Said said = said_of(*snapshot.record, path);
  if (!said.is_spoken_of) return Coverage::none;
  return said.lacking.empty() ? Coverage::complete : Coverage::partial;
}

bool is_whole(const repo::Snapshot& snapshot, std::string_view path) {
  const Coverage coverage = coverage_of(snapshot, path);
  return coverage == Coverage::none ? snapshot.header.is_complete
                                    : coverage == Coverage::complete;
}

std::string what_it_lacks(const repo::Snapshot& snapshot,
                          std::string_view path) {
  if (!snapshot.record) return "";
  path = without_slashes(path);
  const Said said = said_of(*snapshot.record, path);
  const bool is_of_all = path.empty() || !said.is_spoken_of;
  const Reports lacking =
      is_of_all ? incomplete_ones(*snapshot.record) : said.lacking;
  std::string text;
  for (std::size_t i = 0; i < std::min(lacking.size(), kMaxListed); ++i) {
    text += (text.empty() ? "" : "; ") + text_of(*lacking[i]);
  }
  if (lacking.size() > kMaxListed) {
    text += "; and " + count_text(lacking.size() - kMaxListed) + " more";
  }
  return text;
}

}  // namespace cairn::cli
