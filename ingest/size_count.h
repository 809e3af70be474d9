// How much files are, counted beside the backup that reads them for the first
// time, so that progress has a total. A walk like the one that reads, which
// opens no file.
#pragma once

#include <span>
#include <stop_token>
#include <thread>

#include "ingest/backup.h"
#include "repo/progress.h"

namespace cairn::ingest {

// Ownership      borrows everything.
// Threads        one thread at a time.
// Failure        none: what cannot be walked leaves the total unknown.
class SizeCount {
 public:
  // Counts on a thread of its own, at a low priority. Once all is counted,
  // progress.bytes_total is set; before that, it is not touched. Where not all
  // sources are files nobody can tell, and nothing is counted.
  SizeCount(std::span<const Source> sources, repo::Progress& progress);
  SizeCount(const SizeCount&) = delete;
  SizeCount& operator=(const SizeCount&) = delete;

  // Whoever still counts stops.
  ~SizeCount() = default;

 private:
  std::jthread thread_;
};

}  // namespace cairn::ingest
