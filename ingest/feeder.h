// The first stage of a backup: walks, reads and cuts its sources, and feeds
// what it finds into the line in batches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
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

namespace cairn::ingest {

// Which rows of earlier runs may be used again.
struct ReusableRows {
  // Those of snapshots that are valid, of which this is to say which.
  std::function<bool(const repo::SessionId&)> is_valid;
  // Packs that the index names are gone, so that even a valid snapshot may lack
  // blobs.
  bool misses_packs = false;
};

// Threads        one thread.
class Feeder {
 public:
  // Borrows everything.
  Feeder(repo::Repository& repository, const ReusableRows& reusable,
         const PathCache& paths, const repo::SessionId& session,
         BatchLine& line, repo::Progress& progress, BackupReport& report,
         std::stop_token stop);
  ~Feeder();

  // Each appends to the report what became of the source. Throws
  // repo::Cancelled.
  void feed(const FilesToBackUp& files);
  void feed(StreamToBackUp& stream, const BackupOptions& options);

  // Sends what is left and closes the line.
  void finish();

 private:
  struct State;
  class Visitor;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
