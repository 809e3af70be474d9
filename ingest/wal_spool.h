// Received WAL on its way into the repository, in a folder of this host: what
// is synced here may be acknowledged to the server, which then forgets it.
//
//   FOLDER/lock
//         /00000002.history
//         /digests                           of segments that were here
//         /pushed/                           see wal_push.h
//         /00000001-0000000001000000/        a run: WAL without a gap
//            000000010000000000000001        segments as in pg_wal, the last
//            ...                             one as long as what was received
//            durable                         how far they are synced
//            committed                       what a snapshot holds already
//            snapshots                       that were made of it
//
// Files have PostgreSQL's names, so that a person can take them from here when
// all else is lost.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/unique_fd.h"
#include "ingest/wal_name.h"
#include "repo/ids.h"
#include "repo/node.h"

namespace cairn::ingest {

// The newest snapshot of a stream, and what its successor goes on from.
struct CommittedWal {
  Lsn start;
  Lsn end;
  repo::SessionId snapshot;
  std::vector<repo::Link> rows;  // of the stream in it

  bool operator==(const CommittedWal&) const = default;
};

// WAL of one timeline without a gap. It holds at least the segment with the
// last byte, from that segment's beginning.
//
// Threads        write(), sync(), end() and first_difference() by one, what
//                concerns snapshots by one other at a time, the rest by many.
// Failure        IoError, OutOfSpace, after which write() can be tried again
//                and sync() cannot; CorruptionError.
class WalRun {
 public:
  // Opens what lies there, or begins: `start` is where a segment begins. What
  // was written and not synced is gone: the server has it still.
  WalRun(std::filesystem::path folder, std::uint32_t timeline, Lsn start,
         std::uint64_t segment_bytes);

  [[nodiscard]] std::uint32_t timeline() const noexcept { return timeline_; }
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept {
    return segment_bytes_;
  }
  // The first byte that is held: where a segment begins.
  [[nodiscard]] Lsn begin() const noexcept { return {begin_}; }
  // Where the stream begins that it goes on with: of what is committed, it has
  // let go.
  [[nodiscard]] Lsn stream_begin() const;
  [[nodiscard]] Lsn end() const noexcept { return end_; }
  [[nodiscard]] Lsn durable_end() const noexcept { return {durable_end_}; }

  // Behind end(), which then says how far it came, also when this throws.
  void write(std::span<const std::byte> bytes);
  // The same of a whole segment in a file that is synced and never changed, by
  // a link to it, which takes no room. False: its file system has none, and
  // nothing is done. Requires: a segment ends at end().
  [[nodiscard]] bool link_segment(const std::filesystem::path& file);
  // durable_end() becomes end().
  void sync();

  // Where `bytes`, which the server sends for `at`, are not what is held.
  // Requires: all of them are before end(). What is held no more is not
  // compared.
  [[nodiscard]] std::optional<Lsn> first_difference(
      Lsn at, std::span<const std::byte> bytes) const;

  // Requires: from begin() to durable_end().
  void read(Lsn at, std::span<std::byte> out) const;

  // Nothing: no snapshot holds anything of it, and a stream is to begin at
  // begin().
  [[nodiscard]] std::optional<CommittedWal> committed() const;
  // Bytes that no snapshot holds.
  [[nodiscard]] std::uint64_t uncommitted_bytes() const;

  // Durably; then segments that are committed whole are removed.
  void note_committed(const CommittedWal& committed);
  // What was committed is there no more: a new stream begins with what is held,
  // which does not go on from own_snapshots() either.
  void forget_committed();

  // Snapshots that hold what this run held, and nothing else: those noted last.
  // One that is about to be committed is noted first, durably, so that after a
  // crash it can be told from those of other hosts, which may have this one's
  // key and name.
  [[nodiscard]] std::vector<repo::SessionId> own_snapshots() const;
  void note_own_snapshots(std::vector<repo::SessionId> snapshots);

 private:
  [[nodiscard]] std::filesystem::path segment_path(Lsn lsn) const;
  void find_segments(Lsn start);
  void cut_off_behind(Lsn end);
  void open_segment();
  void note_digest(const std::filesystem::path& segment) const;
  void remove_committed_segments(Lsn end);

  const std::filesystem::path folder_;
  const std::uint32_t timeline_;
  const std::uint64_t segment_bytes_;
  std::atomic<std::uint64_t> begin_ = 0;
  Lsn end_;
  std::atomic<std::uint64_t> durable_end_ = 0;
  UniqueFd segment_;  // with end_; none until something is written
  UniqueFd durable_file_;
  std::uint64_t durable_number_ = 0;  // of records written
  mutable std::mutex mutex_;          // guards what follows
  std::optional<CommittedWal> committed_;
  std::vector<repo::SessionId> own_snapshots_;
};

// Each folder on the way durably, or a power cut could take all that is below.
// Throws IoError.
void make_spool_folder(const std::filesystem::path& folder);

// Whole and durable, in the place of what was there. Throws IoError.
void replace_spool_file(const std::filesystem::path& path,
                        std::string_view text);

// Of a run in a spool that another process may be filling.
struct SpooledWal {
  std::uint32_t timeline = 0;
  Lsn start;  // of the run; what a snapshot holds may be there no more
  Lsn durable_end;
  Lsn committed_end;  // of what a snapshot holds of it, or where it starts

  [[nodiscard]] std::uint64_t uncommitted_bytes() const noexcept {
    return durable_end.value - committed_end.value;
  }
};

// What lies in the spool of a cluster; nothing where there is none.
[[nodiscard]] std::vector<SpooledWal> look_at_spool(
    const std::filesystem::path& folder);

// True if another process has it: a receiver, or one that stores what was
// pushed.
[[nodiscard]] bool is_spool_in_use(const std::filesystem::path& folder);

// Threads        all members from many threads.
class WalSpool {
 public:
  // Makes the folder where it is absent. Throws LockedError when another
  // process has it.
  WalSpool(std::filesystem::path folder, std::uint64_t segment_bytes);

  [[nodiscard]] const std::filesystem::path& folder() const noexcept {
    return folder_;
  }
  [[nodiscard]] std::uint64_t segment_bytes() const noexcept {
    return segment_bytes_;
  }

  // By timeline, then place.
  [[nodiscard]] std::vector<std::shared_ptr<WalRun>> runs() const;
  // The one that began there, if there is one.
  [[nodiscard]] std::shared_ptr<WalRun> begin_run(std::uint32_t timeline,
                                                  Lsn start);
  // The one that a receiver writes to from now on. It only ever takes later
  // ones.
  void use(std::shared_ptr<WalRun> run);
  [[nodiscard]] std::shared_ptr<WalRun> in_use() const;
  // With all that it holds.
  void remove(const WalRun& run);

  // Bytes that no snapshot holds.
  [[nodiscard]] std::uint64_t uncommitted_bytes() const;

  // Durably.
  void add_history(std::uint32_t timeline, std::string_view content);
  // The files of that timeline and of lower ones.
  [[nodiscard]] std::map<std::uint32_t, std::string> histories(
      std::uint32_t up_to) const;

 private:
  struct Place {
    std::uint32_t timeline;
    Lsn start;
    auto operator<=>(const Place&) const = default;
  };
  [[nodiscard]] std::filesystem::path folder_of(const Place& place) const;

  const std::filesystem::path folder_;
  const std::uint64_t segment_bytes_;
  UniqueFd lock_;
  mutable std::mutex mutex_;  // guards the rest
  std::map<Place, std::shared_ptr<WalRun>> runs_;
  std::shared_ptr<WalRun> in_use_;
  std::map<std::uint32_t, std::string> histories_;
};

}  // namespace cairn::ingest
