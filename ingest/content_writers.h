// The threads of a restore that decode what files contain and write it.
//
// A file comes open and with the rows of its content; it is cut into parts of
// consecutive chunks, so that neighbours, which share bases, are decoded by one
// worker. Parts travel in batches, of one large file or of several small ones.
// Whoever completes the last part of a file finishes it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/bounded_queue.h"
#include "ingest/restore_tally.h"
#include "ingest/second_look.h"
#include "ingest/stage_group.h"
#include "ingest/target_tree.h"
#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {

// Threads        one thread at a time.
// Failure        a member throws what stopped a worker, or repo::Cancelled.
// Abandonment    destroyed before finish(), it destroys unfinished files.
class ContentWriters {
 public:
  // Borrows everything.
  ContentWriters(repo::Repository& repository, SecondLook& second_look,
                 RestoreTally& tally, repo::Progress& progress,
                 ReadBack read_back, unsigned workers, std::stop_token stop);
  ~ContentWriters();

  // Waits until one more file may be open.
  void wait_for_room(const repo::Entry& entry);

  // Takes a file to be filled with the content of `rows` and finished; `path`
  // names it in failures. Requires: there is room.
  void add(TargetFile target, const repo::Entry& entry,
           std::span<const repo::Link> rows, std::string path);

  // How many files were finished or given up, and waiting until there are more.
  [[nodiscard]] std::uint64_t ended_count();
  void wait_for_more_than(std::uint64_t ended);

  // Throws if the work has to stop.
  void check();

  // Waits until all files are finished or given up.
  void finish();

 private:
  struct UnfinishedFile;
  struct Part;
  class Worker;
  using Batch = std::vector<Part>;

  template <typename Condition>
  void wait_until(Condition condition);
  Part& part_of(const std::shared_ptr<UnfinishedFile>& file);
  void list_chunks(const std::shared_ptr<UnfinishedFile>& file);
  void fail(UnfinishedFile& file, RestoreFailure failure);
  void send_batch();
  void ended(const UnfinishedFile& file);
  [[noreturn]] void give_up();

  repo::Repository& repository_;
  SecondLook& second_look_;
  RestoreTally& tally_;
  repo::Progress& progress_;
  const ReadBack read_back_;

  repo::BlobReader blobs_;  // of the lists of chunks
  Batch batch_;
  std::uint64_t batch_bytes_ = 0;

  std::mutex mutex_;  // guards unfinished_ and ended_
  std::condition_variable_any changed_;
  std::uint64_t unfinished_ = 0;  // files, by their weight
  std::uint64_t ended_ = 0;

  BoundedQueue<Batch> batches_;
  StageGroup workers_;  // last: its threads use everything above
};

}  // namespace cairn::ingest
