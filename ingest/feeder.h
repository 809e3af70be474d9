// The first stage of a backup: walks, reads and cuts its sources, and feeds
// what it finds into the line in batches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "chunker/chunker.h"
#include "ingest/backup.h"
#include "ingest/batch.h"
#include "ingest/path_cache.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/reusable_blobs.h"

namespace cairn::ingest {

// Which rows of earlier runs may be used again: those of valid snapshots, of
// which collection keeps everything, as far as nothing was lost.
struct ReusableRows {
  std::function<bool(const repo::SessionId&)> is_valid;
  repo::ReusableBlobs& blobs;
};

// Threads        one thread; several feeders may share a line.
class Feeder {
 public:
  // Borrows everything. `shared` as shared_folders() gives them; `report` is
  // this feeder's alone.
  Feeder(repo::Repository& repository, const ReusableRows& reusable,
         const PathCache& paths, const std::set<std::string>& shared,
         const repo::SessionId& session, unsigned lane, BatchLine& line,
         repo::Progress& progress, BackupReport& report, std::stop_token stop);
  ~Feeder();

  // Each appends to the report what became of the source. Throws
  // repo::Cancelled.
  void feed(const FilesToBackUp& files);
  void feed(StreamToBackUp& stream, const BackupOptions& options);
  void feed(TreeToBackUp& source);

  // Sends what is left.
  void finish();

 private:
  struct State;
  class Visitor;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
