// Makes the feature table of a series anew where a machine has none: after its
// cache was lost, or on a machine that takes over.
#pragma once

#include <stop_token>

#include "ingest/host_cache.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::ingest {

// Reads every chunk below `root`, the series' newest state, and remembers its
// features; chunks that cannot be read are passed over. That costs as much as
// restoring the state and is done once: without it the next backup would store
// whole whatever changed a little.
//
// Requires: the keys may read contents. Throws repo::Cancelled.
void learn_features(repo::Repository& repository, const repo::BlobId& root,
                    HostCache& cache, repo::Progress& progress,
                    std::stop_token stop);

}  // namespace cairn::ingest
