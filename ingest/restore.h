// Puts a snapshot, or what lies at a path in it, back into a folder.
//
//            batches of ~1 MiB of one file, or of small files
//   walk ----------------------------------------------------> decode, write,
//   nodes --> folders, links, devices, open files              read back,
//   finish
//                       one thread                                N workers
//
// What fails of an entry is reported and leaves the rest alone. A file whose
// content cannot be had whole is not put under its name; a folder whose node is
// damaged lacks only the entries of that node.
//
// Memory: the batches hold ids only; each worker has one blob, its stored form
// and its base, besides the caches of the repository. Of the folders on the way
// down only the last few keep their nodes. At most 128 files are unfinished.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/target_tree.h"
#include "repo/ids.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/tree_bound.h"

namespace cairn::ingest {

// Whether each file is read back from the target, and its chunks compared with
// their ids, before it gets its name.
enum class ReadBack { no, yes };

struct RestoreOptions {
  // Inside the snapshot; empty: all of it, with full paths below the target. Of
  // a folder the content lands in the target, which takes its metadata;
  // anything else lands in the target under its own name.
  std::string path = {};
  std::filesystem::path target = {};
  Overwrite overwrite = Overwrite::refuse;
  ReadBack read_back = ReadBack::no;
  unsigned workers = 2;
  repo::TreeBound bound = {};  // of the whole snapshot
};

enum class FailureCause {
  damaged,      // the repository lacks it, or holds something else
  unsupported,  // a newer program wrote it
  differs,      // what was read back is not what was written
  refused,      // something in the target is in the way
  io_error,     // the system refused
};

struct RestoreFailure {
  std::string path;  // inside the snapshot
  FailureCause cause = FailureCause::damaged;
  std::string what;
};

// Counts what is in the target because of this restore.
struct RestoreReport {
  std::uint64_t files = 0;  // streams among them
  std::uint64_t hard_links = 0;
  std::uint64_t folders = 0;
  std::uint64_t symlinks = 0;
  std::uint64_t others = 0;  // fifos, devices
  std::uint64_t kept = 0;    // Overwrite::never: what was there stayed
  std::uint64_t files_read_back = 0;

  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_unchanged = 0;  // Overwrite::if_changed: were there

  std::vector<Shortfall> shortfalls;     // those of the disk are failures
  std::vector<RestoreFailure> failures;  // the first kMaxFailures, by path
  std::uint64_t failure_count = 0;
  std::uint64_t damage_count = 0;  // of those, damaged or different

  static constexpr std::size_t kMaxFailures = 1000;
};

// Restores the snapshot whose root is `root`.
//
// Throws repo::NotFound when there is no such path, repo::RefusedForSafety when
// the target may not be written to; repo::CorruptionError when the tree holds
// more than it may; what makes going on pointless:
// repo::OutOfSpace and repo::StorageUnreachable (repo::CorruptionError instead
// of either if damage was found before), repo::WrongKey; repo::Cancelled when
// `stop` is requested. However it ends, no unfinished file has its entry's
// name; and none stays behind, unless the process is killed.
[[nodiscard]] RestoreReport restore(repo::Repository& repository,
                                    const repo::BlobId& root,
                                    const RestoreOptions& options,
                                    repo::Progress& progress,
                                    std::stop_token stop);

}  // namespace cairn::ingest
