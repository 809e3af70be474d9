// What travels through the backup pipeline: stretches of source bytes with the
// events that happened to them, in the order of the source. Where sources are
// read side by side, their batches mix, and what is said of an order is said of
// those of one lane.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "crypto/recognition_mac.h"
#include "ingest/feature_table.h"
#include "ingest/known_stream.h"
#include "ingest/path_cache.h"
#include "repo/blob_codec.h"
#include "repo/entry.h"
#include "repo/node.h"
#include "repo/raw_bytes.h"

namespace cairn::ingest {

enum class Sharing { none, several_sources };

struct FolderBegins {
  repo::Entry entry;
  Sharing sharing = Sharing::none;
};
struct FolderEnds {};

// Entries that come in any order, without folders around them and with their
// whole path: from TreeBegins on they wait, until TreeEnds puts them into the
// root or TreeFails forgets them.
struct TreeBegins {};
struct TreeEnds {};
struct TreeFails {};

// An entry whose rows are known without reading: none, or those of an unchanged
// file.
struct WholeEntry {
  repo::Entry entry;
  std::string path;
  std::optional<PathState> state;  // to be remembered
  repo::MemorySum rows_sum = {};   // of the state's rows
};

// Chunks of one content follow each other, those of the parts of a weave (repo/
// weave.h) as they come; ContentEnds or ContentFails closes
// it.
struct Chunk {
  std::span<const std::byte> plain;  // in the batch's buffer
  // Of it as it was cut. Nothing where the feeder recognised it: its MAC tells.
  std::optional<repo::MemorySum> sum;
  unsigned part = 0;  // of a weave; else 0
  CutBy cut_by = CutBy::content;
  // The known_stream_file() of a stream whose chunks are to be recognised the
  // next time; else null.
  std::shared_ptr<const std::filesystem::path> stream;
  // Filled in by the feeder where it recognised the chunk, else by a worker:
  repo::BlobId id;
  repo::MemorySum id_sum;                     // as old as the id
  std::optional<crypto::RecognitionMac> mac;  // only with `stream`
  // Filled in by a worker:
  std::optional<repo::EncodedBlob> encoded;  // nothing: stored already
  // Of what is encoded, for those that come after it:
  std::vector<std::uint64_t> features;
  Descent descent;
};
struct ContentEnds {
  repo::Entry entry;
  std::string path;
  // Of a file that stayed as it was while it was read; else nothing.
  std::optional<FileState> state = {};
  // It may be taken for unchanged the next time.
  bool is_settled = false;
  // Of a file that a backup of the series held before: what it was then.
  std::optional<PathState> before = {};
};
struct ContentFails {};

// The same for a stream of a lane beside the first, which alone may have
// folders open: it waits for its place, below these, until all is fed.
struct StreamEnds {
  ContentEnds content;
  std::vector<FolderBegins> folders;  // the outermost first
};

using Event =
    std::variant<FolderBegins, FolderEnds, TreeBegins, TreeEnds, TreeFails,
                 WholeEntry, Chunk, ContentEnds, ContentFails, StreamEnds>;

struct Batch {
  repo::RawBytes buffer;
  std::size_t used = 0;  // bytes of the buffer
  std::vector<Event> events;
  unsigned lane = 0;        // whose events these are
  bool is_encoded = false;  // guarded by the BatchLine
};

// The batches on their way, in order: given out to workers as they come, taken
// by the assembler in the order in which they were fed, used again after that.
// Their number bounds the pipeline's memory.
//
// Threads        all members from many threads, take_to_assemble() from one.
class BatchLine {
 public:
  // So many batches, with buffers of so many bytes.
  BatchLine(std::size_t batches, std::size_t buffer_bytes);

  // An empty batch, waiting for one. Null: stopping.
  [[nodiscard]] std::shared_ptr<Batch> acquire(std::stop_token stop);

  // Puts it in line.
  void feed(std::shared_ptr<Batch> batch);
  void close();

  // The next that no worker has; null: closed and empty, or stopping.
  [[nodiscard]] std::shared_ptr<Batch> take_to_encode(std::stop_token stop);
  void encoded(const std::shared_ptr<Batch>& batch);

  // The first in line, once it is encoded; null: closed and empty, or stopping.
  [[nodiscard]] std::shared_ptr<Batch> take_to_assemble(std::stop_token stop);
  void release(std::shared_ptr<Batch> batch);

 private:
  std::mutex mutex_;  // guards everything below
  // One for each that is waited for: to wake everybody at every step cost some
  // 2 % of a backup.
  std::condition_variable_any freed_;
  std::condition_variable_any fed_;
  std::condition_variable_any encoded_;
  std::vector<std::shared_ptr<Batch>> free_;
  std::deque<std::shared_ptr<Batch>> to_encode_;
  std::deque<std::shared_ptr<Batch>> in_order_;
  bool is_closed_ = false;
};

}  // namespace cairn::ingest
