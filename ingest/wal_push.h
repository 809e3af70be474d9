// What a server's archive_command hands over, on its way into the spool:
//
//   FOLDER/pushed/000000010000000000000001           whole and synced, and
//                /000000010000000000000002.partial   only then named
//                /00000002.history
//                /000000010000000000000001.00000028.backup
//
// Any number of processes add to it, beside one that has the spool and moves
// what waits there into the spool's runs. What has a name there is never
// changed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ingest/wal_file.h"
#include "ingest/wal_spool.h"
#include "repo/entry.h"
#include "repo/repository.h"

namespace cairn::ingest {

// A file of pg_wal that was found to be what its name says.
//
// Failure of the functions: RefusedForSafety for one that is not, IoError.
struct WalToPush {
  std::filesystem::path path;
  WalFileName name;
  std::uint64_t system = 0;  // the cluster's
  // Of a segment, and of the last one of a timeline: where it begins, and how
  // many bytes of the file count, which is all of a segment.
  Lsn begin;
  std::uint64_t bytes = 0;
  // 0: of a file that does not tell it.
  std::uint64_t segment_bytes = 0;
  std::string server_version;  // "15"; empty: unknown
};

// `data_directory` is the server's, for what the file itself does not say. The
// history of the timeline that follows a partial segment is looked for beside
// it: it says where that ends.
[[nodiscard]] WalToPush inspect_wal_to_push(
    const std::filesystem::path& path,
    const std::filesystem::path& data_directory);

class PushedWal {
 public:
  // Of a spool whose folder exists or not.
  explicit PushedWal(std::filesystem::path spool);

  enum class Known {
    same,       // these bytes are here, durably, or were, and are stored
    next,       // it follows the last that is known of its timeline
    elsewhere,  // nothing is known of it: what is stored may be
  };
  // Throws RefusedForSafety when other bytes are known by that name.
  [[nodiscard]] Known compare(const WalToPush& file) const;

  enum class Added { added, was_there };
  // Durably. Throws as compare() does.
  Added add(const WalToPush& file);

  struct Waiting {
    std::filesystem::path path;
    WalFileName name;
    std::uint64_t bytes = 0;
    repo::Timestamp since;
  };
  // For the repository, by timeline and place; no backup history files.
  [[nodiscard]] std::vector<Waiting> waiting() const;

 private:
  [[nodiscard]] Known look_for(const WalToPush& file) const;

  const std::filesystem::path spool_;
  const std::filesystem::path folder_;
};

// What the repository has of it, for a spool that does not know.
enum class InRepository {
  all,
  not_all,  // or it cannot be told with this key
};
// Throws RefusedForSafety when it has other bytes in that place, and what
// reading fails with.
[[nodiscard]] InRepository compare_with_stored(repo::Repository& repository,
                                               const std::string& series,
                                               const WalToPush& file,
                                               const repo::Timestamp& now);

// What a spool holds of a segment, from its beginning on, for who has not got
// the spool. What is committed meanwhile goes: look here first, and then into
// the repository. These throw IoError where it cannot be told.
struct SpooledSegment {
  std::filesystem::path path;
  std::uint64_t bytes = 0;  // of the file, that are synced
};
[[nodiscard]] std::optional<SpooledSegment> find_spooled_segment(
    const std::filesystem::path& spool, const WalFileName& name,
    std::uint64_t segment_bytes);
[[nodiscard]] std::optional<std::string> find_spooled_history(
    const std::filesystem::path& spool, std::uint32_t timeline);

// Of a history or backup history file that waits, or stays, among what was
// pushed.
[[nodiscard]] std::optional<std::string> find_pushed_text(
    const std::filesystem::path& spool, const WalFileName& name);

// What is stored in the place of a segment that the spool has let go of.
enum class StoredInPlace {
  same,
  other,
  unknown,  // not all of it is there, or it cannot be read
};
using LookAtStored = std::function<StoredInPlace(const WalToPush& segment)>;

// Moves what waits into the spool's runs, and answers what was wrong with some
// of it, in words. What a run held before is compared by its digest, or `look`
// is asked; it waits on where neither knows. With `in_use`, the run that a
// receiver writes to, none is changed but those that precede it, and what
// follows it waits on.
//
// Requires: no other thread writes to runs that precede it.
[[nodiscard]] std::vector<std::string> absorb_pushed(WalSpool& spool,
                                                     const WalRun* in_use,
                                                     const LookAtStored& look);

}  // namespace cairn::ingest
