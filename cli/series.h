// One series, as --series names it in every command that looks at snapshots.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_line.h"
#include "cli/output.h"
#include "repo/keyring.h"
#include "repo/repository.h"
#include "repo/snapshot.h"

namespace cairn::cli {

// "db" is of this host; what holds a slash is taken as it is.
[[nodiscard]] std::string whole_series(std::string_view series);

// The same, of what is to be saved there. Throws UsageError for a series of
// WAL: rules of retention and `latest` would pass it over.
[[nodiscard]] std::string series_to_save(std::string_view series);

void declare_series(Flags& flags, std::optional<std::string>& series);

// Told by its tag, so that a key which may not read the series' name finds its
// snapshots too.
class Series {
 public:
  // Throws UsageError for an empty name.
  Series(std::string_view given, const repo::Keyring& keyring);

  [[nodiscard]] bool holds(const repo::Snapshot& snapshot) const {
    return holds(snapshot.header);
  }
  [[nodiscard]] bool holds(const repo::SnapshotHeader& header) const {
    return header.series_tag == tag_;
  }

  // That none of all the snapshots is of it: the name was probably mistyped.
  void warn_that_unknown(
      const std::vector<const repo::ValidSnapshot*>& snapshots,
      Output& output) const;

 private:
  std::string name_;
  repo::SeriesTag tag_;
};

// Nothing: none was given. Warns when no snapshot is of it.
[[nodiscard]] std::optional<Series> series_of(
    const std::optional<std::string>& given, const repo::Keyring& keyring,
    const repo::SnapshotList& list, Output& output);

// A succession of WAL: pieces between states, which "latest" does not mean.
[[nodiscard]] bool is_of_wal(const repo::Snapshot& snapshot);

}  // namespace cairn::cli
