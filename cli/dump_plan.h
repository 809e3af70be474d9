// Which dumps of a snapshot are to be loaded into a server, and as what.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/pg_tables_document.h"
#include "cli/snapshot_selector.h"
#include "ingest/pg_dump_kind.h"
#include "ingest/stream_output.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/tree_reader.h"

namespace cairn::cli {

// One snapshot of the repository, of which streams are read.
//
// Threads        one thread at a time.
class DumpSnapshot {
 public:
  // `name` is SNAP or SNAP:PATH, `series` as --series has it. Throws
  // repo::NotFound.
  DumpSnapshot(Context& context, const std::string& name,
               const std::optional<std::string>& series);

  [[nodiscard]] const repo::Snapshot& snapshot() const noexcept {
    return selected_.snapshot.snapshot;
  }
  // Empty: none was named.
  [[nodiscard]] const std::string& path() const noexcept {
    return selected_.path;
  }
  [[nodiscard]] bool is_in_doubt() const noexcept {
    return selector_.is_in_doubt();
  }

  // Whether the path names one. Throws repo::NotFound.
  [[nodiscard]] bool is_folder();

  // A file or stream. Throws repo::NotFound.
  [[nodiscard]] repo::TreeEntry entry(const std::string& path);
  [[nodiscard]] bool has(const std::string& path);

  // These throw what reading a repository throws. `write` gives all of it,
  // `beginning` at most so many bytes.
  [[nodiscard]] ingest::StreamEnd write(const repo::TreeEntry& entry,
                                        const ingest::ByteSink& sink,
                                        repo::Progress& progress,
                                        const std::stop_token& stop);
  [[nodiscard]] std::string beginning(const repo::TreeEntry& entry,
                                      std::size_t most,
                                      const std::stop_token& stop);

 private:
  repo::Repository repository_;
  SnapshotSelector selector_;
  SnapshotSelector::Selected selected_;
};

// The dump of one database.
struct PlannedDump {
  std::string path;
  std::string database;  // that it is of; empty: its name does not say
  std::string into;
  repo::TreeEntry entry;
  ingest::PgDumpKind kind = ingest::PgDumpKind::archive;
  std::optional<PgTablesDocument> document;  // what lies beside it
};

struct DumpPlan {
  std::optional<repo::TreeEntry> globals;
  std::vector<PlannedDump> dumps;
  std::vector<std::string> lacking;  // dumps that failed, and why
};

// What the path names; without one, the globals and all dumps of the snapshot,
// or those of the databases. `into`: another name for the only one. Throws
// repo::NotFound, UsageError, and repo::RefusedForSafety for what is no dump.
[[nodiscard]] DumpPlan plan_dumps(DumpSnapshot& snapshot,
                                  const std::vector<std::string>& databases,
                                  const std::optional<std::string>& into,
                                  const std::stop_token& stop);

// The newest major version of pg_dump that made one of them; 0: not known.
[[nodiscard]] int newest_pg_dump(const DumpPlan& plan);

// The number in front: 15 of "15.18"; 0: there is none.
[[nodiscard]] int major_of(const std::string& version);

// Throws UsageError for what no database can be called.
void require_database_name(const std::string& name);

}  // namespace cairn::cli
