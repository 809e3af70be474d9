// The backup pipeline: from sources to a snapshot.
//
//            batches of ~1 MiB, in order
//   feed ------------------------------> name, look up, encode   (N workers)
//   walk, read, cut                                |
//     ^                                            v
//     |  buffers come back                   assemble: packs, lists, folders
//     +--------------------------------------------|
//                                                  v
//                                            publish: packs, index objects
//
// feed        one thread for each lane, of which there is mostly one; finds
//             unchanged files in the path cache and passes them by
// encode      the id of each chunk; new ones become a difference to the chunk
//             at the same place of the series' previous state, or are
//             compressed, then sealed, then read back and compared
// assemble    one thread, in the order of each lane's sources, so that the
//             graph does not depend on how many workers ran
// publish     one thread; waits for the disk so that nobody else does
//
// Memory: two batch buffers for each worker and each lane and two beside, of 2
// MiB each (or of four of the largest chunks), the same again at most in
// encoded form, the directories of four packs, the rows of packs that no index
// object names yet.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/file_source.h"
#include "ingest/tree_stream.h"
#include "repo/blob_codec.h"
#include "repo/entry.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/snapshot.h"

namespace cairn::ingest {

// Of files while they are read.
enum class Changes {
  are_problems,  // the source is saved in part
  are_expected,  // by somebody who knows of a program at work there: counted
};

// Files and folders, found again under their absolute paths. `name` is what
// reports call them.
struct FilesToBackUp {
  std::vector<std::string> paths;
  FileSourceOptions options;
  std::string name = "files";
  Changes changes = Changes::are_problems;
  // What is wrong when there is no content: it is saved in part then. Empty:
  // nothing is.
  std::string if_empty = {};
};

// One stream, found again under `name`, whose slashes make folders. One that
// fails leaves none.
struct StreamToBackUp {
  std::string name;
  repo::SourceKind kind = repo::SourceKind::standard_input;
  std::unique_ptr<ByteStream> stream;
  // Streams of different lanes are read side by side, by a thread for each
  // lane; those of one in their order. Files are of the first, 0. Less than
  // kMaxLanes.
  unsigned lane = 0;
  // What it fails with when there is no content. Empty: it does not.
  std::string if_empty = {};
};

inline constexpr unsigned kMaxLanes = 4;

// A tree that fills the snapshot's root, found again under its own paths. One
// that fails leaves nothing. `name` is what reports and `latest:NAME` call it.
struct TreeToBackUp {
  std::string name;
  repo::SourceKind kind = repo::SourceKind::postgres_base;
  std::unique_ptr<TreeStream> tree;
};

using Source = std::variant<FilesToBackUp, StreamToBackUp, TreeToBackUp>;

// Where no snapshot of the series tells how much there is to read.
enum class FirstTotal {
  unknown,
  counted,  // beside the run, which costs a second walk
};

struct BackupOptions {
  std::string series;  // as stored: with its host
  std::string host;
  std::string user;
  std::string program;  // "cairn 0.1.0"
  std::vector<std::string> tags;
  repo::Timestamp now;                  // when it begins
  std::optional<repo::Timestamp> time;  // of the data; nothing: now
  repo::CompressionLevels levels;
  unsigned workers = 2;
  std::uint64_t pack_bytes = std::uint64_t{64} << 20;
  FirstTotal first_total = FirstTotal::unknown;
};

// Something of a source that is not in the snapshot as it should be.
struct SourceProblem {
  std::string path;
  std::string why;
};

struct BackupReport {
  // Nothing: every source failed, and nothing was committed.
  std::optional<repo::SessionId> snapshot;
  bool is_complete = true;
  // A snapshot of the series that claims to have arrived in the future.
  std::optional<repo::SessionId> future;
  std::vector<repo::SourceReport> sources;
  std::vector<SourceProblem> problems;  // the first kMaxProblems of them
  std::uint64_t problem_count = 0;
  // Of the repository and this machine: what did not keep the snapshot from
  // being whole, but should be looked after.
  std::vector<std::string> warnings;
  // What is no problem, and yet perhaps not what was meant.
  std::vector<std::string> notes;

  std::uint64_t files_new = 0;
  std::uint64_t files_changed = 0;  // in content or metadata
  std::uint64_t files_unmodified = 0;
  std::uint64_t files_read_again = 0;  // of these, since nothing less told
  std::uint64_t folders = 0;
  std::uint64_t others = 0;  // symlinks, fifos, devices
  std::uint64_t sockets_skipped = 0;
  std::uint64_t excluded = 0;

  std::uint64_t bytes_read = 0;    // what the snapshot holds, logically
  std::uint64_t bytes_new = 0;     // plain bytes of chunks not stored before
  std::uint64_t bytes_stored = 0;  // what this run added to the repository
  std::uint64_t chunks = 0;
  std::uint64_t chunks_new = 0;
  std::uint64_t differences = 0;  // of those, stored as a difference

  static constexpr std::size_t kMaxProblems = 1000;
};

// Backs up the sources, one after another, into one snapshot. Folders above
// several of them are one folder there, as the first of the files describes it;
// where there are such, files are read before streams. Throws
// std::invalid_argument, before anything is read, when two sources are in each
// other's way, a name or word is none, or there are several lanes and a tree
// beside them.
//
// What fails of a source is reported and leaves the rest alone; what fails of
// the repository ends the run without a snapshot: repo::OutOfSpace,
// repo::LockedError (a prune at work, or fenced off), repo::CorruptionError and
// so on. repo::Cancelled when `stop` is requested; packs that are complete by
// then are indexed, so that the next run need not store them again.
[[nodiscard]] BackupReport back_up(repo::Repository& repository,
                                   std::vector<Source> sources,
                                   const BackupOptions& options,
                                   repo::Progress& progress,
                                   std::stop_token stop);

}  // namespace cairn::ingest
