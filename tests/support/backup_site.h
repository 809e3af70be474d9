// A repository in memory, a machine that backs up to it, and what comes back:
// for the tests of the backup pipeline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/backup.h"
#include "ingest/byte_stream.h"
#include "repo/config.h"
#include "repo/repository.h"
#include "repo/tree_reader.h"
#include "tests/support/bytes.h"
#include "tests/support/memory_storage.h"
#include "tests/support/temp_folder.h"

namespace cairn::testing_support {

// Small, so that a test's files have many chunks.
inline constexpr std::uint32_t kSmallMin = 1U << 10;
inline constexpr std::uint32_t kSmallNormal = 4U << 10;
inline constexpr std::uint32_t kSmallMax = 16U << 10;
inline constexpr std::uint32_t kSmallPage = 8U << 10;

enum class ChunkSizing { small, as_by_default };

class BackupSite {
 public:
  explicit BackupSite(ChunkSizing sizing = ChunkSizing::small);

  // What lies in the repository, to be copied, damaged and put back.
  [[nodiscard]] MemoryStorage& disk() { return disk_; }

  // As a new process of this machine opens it. The second goes through
  // `storage`, borrowed, which mostly fails on purpose.
  [[nodiscard]] repo::Repository open();
  [[nodiscard]] repo::Repository open_through(repo::Storage& storage);

  // With another role's keys; with a cache that knows nothing yet.
  [[nodiscard]] repo::Repository open_as(repo::Role role);
  [[nodiscard]] repo::Repository open_elsewhere();

  // New keys of that role, that a key file opens, as often as wanted.
  [[nodiscard]] crypto::Secret add_key(repo::Role role);
  [[nodiscard]] repo::Repository open_with(const crypto::Secret& key);

  // Requires for all of these: nobody has it open.
  void lose_cache();
  // Repository and machine as they were when they were kept, to try many things
  // from one beginning.
  void keep();
  void go_back();
  [[nodiscard]] std::filesystem::path cache_folder() const;
  [[nodiscard]] std::filesystem::path state_folder() const;

 private:
  [[nodiscard]] repo::Repository open_for(repo::Storage& storage,
                                          repo::Role role,
                                          const std::filesystem::path& cache);

  MemoryStorage disk_;
  MemoryStorage kept_disk_;
  TempFolder folder_;
  unsigned elsewhere_ = 0;
  repo::Keyring keyring_;
};

inline constexpr std::string_view kSeries = "host/test";

[[nodiscard]] ingest::BackupOptions backup_options();

// Bytes from memory, so many per read.
class MemoryStream : public ingest::ByteStream {
 public:
  explicit MemoryStream(Bytes bytes, std::size_t bytes_per_read = ~0ULL)
      : bytes_(std::move(bytes)), bytes_per_read_(bytes_per_read) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override;
  void finish(std::stop_token) override {}

  // Called before every read with what was read so far.
  std::function<void(std::uint64_t)> before_read;

 private:
  Bytes bytes_;
  std::size_t bytes_per_read_;
  std::size_t position_ = 0;
};

[[nodiscard]] ingest::Source source_of(std::string name, Bytes bytes,
                                       std::size_t bytes_per_read = ~0ULL);
[[nodiscard]] ingest::Source source_of(
    std::string name, std::unique_ptr<ingest::ByteStream> stream,
    repo::SourceKind kind = repo::SourceKind::standard_input);
[[nodiscard]] ingest::Source source_of(const std::filesystem::path& path);

// One or two sources; Source cannot be copied into an initializer list.
[[nodiscard]] std::vector<ingest::Source> sources(ingest::Source first);
[[nodiscard]] std::vector<ingest::Source> sources(ingest::Source first,
                                                  ingest::Source second);

// Runs one backup with a progress of its own that nobody stops.
ingest::BackupReport run_backup(
    repo::Repository& repository, std::vector<ingest::Source> sources,
    const ingest::BackupOptions& options = backup_options());
ingest::BackupReport run_backup(BackupSite& site, ingest::Source source);

// An entry as it comes back, every blob on the way compared with its id.
struct StoredEntry {
  repo::Entry entry;
  Bytes content;  // with its holes
  std::vector<repo::Link> chunks;
};

// By path, without a slash at the front.
using StoredTree = std::map<std::string, StoredEntry>;

// Throws what reading throws, and std::runtime_error for an entry that is not
// true to itself.
[[nodiscard]] StoredTree read_tree(repo::Repository& repository,
                                   const repo::BlobId& root);

// Every valid snapshot, oldest first, read whole by a machine that knows
// nothing yet.
struct StoredSnapshot {
  repo::Snapshot snapshot;
  StoredTree tree;
};
[[nodiscard]] std::vector<StoredSnapshot> read_all_snapshots(BackupSite& site);

// What check finds at level data, garbage and notes left out: nothing, in a
// sound repository.
[[nodiscard]] std::vector<std::string> damage_in(BackupSite& site);

// Packs, and those that index objects name.
[[nodiscard]] std::set<repo::PackId> packs_in(const repo::Storage& storage);
[[nodiscard]] std::set<repo::PackId> indexed_packs_in(BackupSite& site);

// Of registered writers.
[[nodiscard]] std::size_t sessions_in(BackupSite& site);

// The tree of the newest.
[[nodiscard]] StoredTree read_newest(BackupSite& site);

// The root of the snapshot that the report tells of.
[[nodiscard]] repo::BlobId root_of(BackupSite& site,
                                   const ingest::BackupReport& report);

// Waits until the clock that stamps files has moved on from every stamp in the
// folder, so that a backup may remember the files.
void let_settle(const std::filesystem::path& folder);

}  // namespace cairn::testing_support
