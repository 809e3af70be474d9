// Snapshots as commands show them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json.h"
#include "cli/series.h"
#include "repo/repository.h"

namespace cairn::cli {

// What `--series S`, `--tag T` and `--host H` let through; all that are given
// must match.
struct SnapshotFilter {
  std::optional<Series> series;
  std::vector<std::string> tags;  // any of them
  std::optional<std::string> host;

  [[nodiscard]] bool lets_through(const repo::Snapshot& snapshot) const;
};

// The series, or the tag's digits for a role that may not read it.
[[nodiscard]] std::string series_text(const repo::Snapshot& snapshot);

// `series`, null for a role that may not read it, and `series_tag`, by which
// its snapshots are known to belong together.
void set_series(Json& json, const repo::Snapshot& snapshot);

// "/etc, /home", "db.sql", "db.sql (failed)", "settings, db/shop.dump"
[[nodiscard]] std::string sources_text(const repo::Snapshot& snapshot);

// "2026-11-20 14:30:00 +01:00 (3 hours ago)"
[[nodiscard]] std::string time_and_age(const repo::Timestamp& time,
                                       const repo::Timestamp& now);

// True if the data claims to be of a time after it arrived (FORMAT.md, 13.7).
[[nodiscard]] bool is_of_the_future(const repo::Snapshot& snapshot);

// "incomplete", "future"; empty: as it should be.
[[nodiscard]] std::string state_text(const repo::Snapshot& snapshot);

// Texts joined by ", ".
[[nodiscard]] std::string joined(const std::vector<std::string>& texts);

// The fields that `snapshots --json` promises, and more.
[[nodiscard]] Json json_of(const repo::ValidSnapshot& valid);

[[nodiscard]] std::string_view name_of(repo::SourceKind kind) noexcept;
[[nodiscard]] std::string_view name_of(repo::SourceStatus status) noexcept;
[[nodiscard]] std::string_view name_of(repo::EntryType type) noexcept;

[[nodiscard]] Json json_of(const repo::SourceReport& source);

}  // namespace cairn::cli
