// What this host remembers of a series from one run to the next. All of it can
// be lost without harm (repo/index_store.h).
#pragma once

#include <string_view>

#include "ingest/feature_table.h"
#include "ingest/path_cache.h"
#include "repo/repository.h"

namespace cairn::ingest {

// Paths and features, written together and seldom: to open the store for
// writing costs some ten milliseconds, whatever there is to write.
//
// Memory: 8 MiB of what is not written yet.
//
// Threads        as its parts; flush() is one of the others.
// Failure        none: what cannot be written, on a full disk say, is not known
//                the next time.
class HostCache {
 public:
  // Borrows the repository.
  HostCache(repo::Repository& repository, std::string_view series,
            const repo::SeriesTag& tag);

  PathCache paths;
  FeatureTable features;

  void flush_if_large();

  void flush();

  // At the end of a run, when nothing is looked up any more. Brings in the
  // index objects that are not known yet, too, and forgets what is gone with
  // its snapshots: those that are not among `valid`.
  void flush_last(const PathCache::Valid& valid);

 private:
  void write(repo::IndexStore::Writer& writer);

  repo::Repository& repository_;
};

}  // namespace cairn::ingest
