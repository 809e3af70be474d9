#include "cli/series.h"

#include <algorithm>
#include <set>

#include "cli/context.h"
#include "cli/nearest.h"
#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxListed = 5;
constexpr std::string_view kWal = "/wal";

}  // namespace

std::string whole_series(std::string_view series) {
  if (series.empty()) throw UsageError("a series needs a name");
  if (series.find('/') != std::string_view::npos) return std::string(series);
  return host_name() + "/" + std::string(series);
}

std::string series_to_save(std::string_view series) {
  std::string whole = whole_series(series);
  if (whole.ends_with(kWal)) {
    throw UsageError("series " + whole +
                     ": those that end in /wal are of WAL, which rules and "
                     "'latest' pass over; name another with --series");
  }
  return whole;
}

void declare_series(Flags& flags, std::optional<std::string>& series) {
  flags.text("--series", "S", series,
             "only this series; without a slash, of this host");
}

Series::Series(std::string_view given, const repo::Keyring& keyring)
    : name_(whole_series(given)), tag_(repo::series_tag(keyring, name_)) {}

void Series::warn_that_unknown(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    Output& output) const {
  std::set<std::string> known;
  for (const auto* const valid : snapshots) {
    const auto& record = valid->snapshot.record;
    if (record) known.insert(record->series);
  }
  std::string text = "no snapshot is of series " + name_;
  const std::vector<std::string> names(known.begin(), known.end());
  if (const auto near = nearest(name_, names)) {
    text += "; did you mean " + *near + "?";
  } else if (!names.empty()) {
    text += "; there are ";
    for (std::size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) {
      text += (i == 0 ? "" : ", ") + names[i];
    }
    if (names.size() > kMaxListed) text += " and others";
  }
  output.warning(text);
}

std::optional<Series> series_of(const std::optional<std::string>& given,
                                const repo::Keyring& keyring,
                                const repo::SnapshotList& list,
                                Output& output) {
  if (!given) return std::nullopt;
  Series series(*given, keyring);
  std::vector<const repo::ValidSnapshot*> snapshots;
  for (const auto& valid : list.snapshots) {
    if (series.holds(valid.snapshot)) return series;
    snapshots.push_back(&valid);
  }
  series.warn_that_unknown(snapshots, output);
  return series;
}

bool is_of_wal(const repo::Snapshot& snapshot) {
  return snapshot.record && snapshot.record->series.ends_with(kWal);
}

}  // namespace cairn::cli
