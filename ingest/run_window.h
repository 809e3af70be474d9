// Work that is done by several threads and wanted in order: runs of a stream's
// chunks, decoded a little ahead of who writes them.
//
//   add() -->  waiting | claimed | decoded | claimed | decoded  -->
//   take_first()
//              newest                                   oldest
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

#include "repo/blob_reader.h"
#include "repo/tree_reader.h"
#include "repo/weave.h"

namespace cairn::ingest {

// Consecutive pieces of a stream for one worker, whose chunks share bases.
struct Run {
  // Those that no piece before was of.
  std::vector<repo::StreamCursor::Place> chunks;
  // One whose chunk is not among these lies in the last one of its part.
  struct Piece {
    repo::StreamPiece place;
    bool begins_chunk = false;
  };
  std::vector<Piece> pieces;
  // Once it is decoded; less than there are chunks if that failed.
  std::vector<repo::PlainBlob> plain;
  std::exception_ptr failure;
};

// Threads        claim() and decoded() from many threads, the others from one.
class RunWindow {
 public:
  explicit RunWindow(std::size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] bool has_room();

  // Requires: there is room.
  void add(Run run);

  // The oldest run that nobody has claimed; it stays where it is. Waits for
  // one. Null: stopping.
  [[nodiscard]] Run* claim(const std::stop_token& stop);
  void decoded(const Run* run);

  // The oldest run, once it is decoded. Nothing: none is left, or stopping.
  [[nodiscard]] std::optional<Run> take_first(const std::stop_token& stop);

 private:
  enum class State { waiting, claimed, decoded };
  struct Slot {
    Run run;
    State state;
  };

  const std::size_t capacity_;
  std::mutex mutex_;  // guards slots_, but not a run that is claimed
  std::condition_variable_any has_waiting_;
  std::condition_variable_any first_decoded_;
  std::deque<Slot> slots_;  // whose elements stay where they are
};

}  // namespace cairn::ingest
