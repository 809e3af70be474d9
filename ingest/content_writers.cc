#include "ingest/content_writers.h"

#include <atomic>
#include <cassert>
#include <cstring>
#include <optional>
#include <utility>

#include "ingest/hole_map.h"
#include "ingest/stream_output.h"
#include "repo/error.h"
#include "repo/weave.h"

namespace cairn::ingest {
namespace {

constexpr std::uint64_t kBatchBytes = std::uint64_t{1} << 20;
constexpr std::size_t kBatchFiles = 16;
constexpr std::size_t kQueuedBatches = 8;

// With three descriptors each, its own, perhaps its folder's and the old
// file's, well below the usual limit of 1024.
constexpr std::uint64_t kMaxUnfinished = 128;

// A file may have a million holes, which are kept while it is unfinished.
std::uint64_t weight_of(const repo::Entry& entry) {
  constexpr std::size_t kHolesPerUnit = 4096;
  return 1 + entry.holes.size() / kHolesPerUnit;
}

void raise(std::atomic<std::uint64_t>& value, std::uint64_t to) {
  std::uint64_t now = value;
  while (now < to && !value.compare_exchange_weak(now, to)) {
  }
}

}  // namespace

struct ContentWriters::UnfinishedFile {
  UnfinishedFile(TargetFile t, const repo::Entry& entry,
                 std::span<const repo::Link> r, std::string p)
      : target(std::move(t)),
        has_old(target->has_old()),
        holes(entry),
        weave(entry.weave),
        size(entry.size),
        rows(r.begin(), r.end()),
        path(std::move(p)),
        weight(weight_of(entry)) {}

  std::optional<TargetFile> target;  // until the file is finished or given up
  const bool has_old;
  HoleMap holes;
  const std::optional<repo::Weave> weave;  // then one part is all of it
  const std::uint64_t size;
  std::vector<repo::Link> rows;
  std::string path;
  std::uint64_t weight;

  std::atomic<std::uint64_t> unfinished_parts = 1;  // the first: the listing
  std::atomic<bool> has_failed = false;
  // Up to here the new file, if there is one in the end, may lack content that
  // the old one has.
  std::atomic<std::uint64_t> left_end = 0;
};

struct ContentWriters::Part {
  // Shared by the parts of the file, in batches and with workers, and by add().
  std::shared_ptr<UnfinishedFile> file;
  std::vector<repo::StreamCursor::Place> chunks;
};

// One thread.
class ContentWriters::Worker {
 public:
  explicit Worker(ContentWriters& all)
      : all_(all), blobs_(all.repository_.blobs()) {}

  void run(const std::stop_token& stop) {
    while (auto batch = all_.batches_.pop(stop)) {
      for (const Part& part : *batch) {
        write(part, stop);
        if (stop.stop_requested()) return;
        if (--part.file->unfinished_parts == 0) finish(*part.file, stop);
      }
    }
  }

 private:
  void write(const Part& part, const std::stop_token& stop) {
    UnfinishedFile& file = *part.file;
    if (file.weave) {
      attempt(file, [&] { write_weave(file, stop); });
      return;
    }
    for (const auto& chunk : part.chunks) {
      if (file.has_failed || stop.stop_requested()) return;
      attempt(file, [&] { write(file, chunk); });
    }
  }

  template <typename Step>
  void attempt(UnfinishedFile& file, Step step) {
    auto failure = failure_of(file.path, step);
    if (failure) all_.fail(file, std::move(*failure));
  }

  void write(UnfinishedFile& file, const repo::StreamCursor::Place& chunk) {
    if (file.has_old && is_in_old(file, chunk)) {
      if (file.target->is_replaced()) {
        write(file, chunk, present_);
      } else {
        raise(file.left_end, chunk.offset + chunk.length);
      }
      all_.tally_.bytes_unchanged += chunk.length;
    } else {
      write(file, chunk, *read_chunk(chunk));
      all_.tally_.bytes_written += chunk.length;
    }
    all_.progress_.bytes_done += chunk.length;
  }

  // Goes through it twice if an old file of the same length differs.
  void write_weave(UnfinishedFile& file, const std::stop_token& stop) {
    std::uint64_t size = 0;
    const auto passed = [&](std::span<const std::byte> block) {
      size += block.size();
      all_.progress_.bytes_done += block.size();
    };
    // One of another length is replaced already, even if it begins so.
    bool is_in_old = file.has_old && !file.target->is_replaced();
    if (is_in_old) {
      put_together(file, stop, [&](std::span<const std::byte> bytes) {
        present_.resize(bytes.size());
        is_in_old =
            file.target->read_old(size, present_) == bytes.size() &&
            std::memcmp(bytes.data(), present_.data(), bytes.size()) == 0;
        passed(bytes);
        return is_in_old ? repo::Visit::go_on : repo::Visit::stop;
      });
    }
    if (is_in_old) {
      all_.tally_.bytes_unchanged += size;
    } else {
      all_.progress_.bytes_done -= std::exchange(size, 0);
      put_together(file, stop, [&](std::span<const std::byte> bytes) {
        file.target->write(size, bytes);
        passed(bytes);
        return repo::Visit::go_on;
      });
      all_.tally_.bytes_written += size;
    }
  }

  void put_together(const UnfinishedFile& file, const std::stop_token& stop,
                    const ByteSink& sink) {
    repo::TreeEntry stream;
    stream.entry.type = repo::EntryType::stream;
    stream.entry.size = file.size;
    stream.entry.weave = file.weave;
    stream.rows = file.rows;
    repo::Progress of_the_stream;
    (void)write_stream(all_.repository_, stream, sink, of_the_stream, stop);
  }

  repo::PlainBlob read_chunk(const repo::StreamCursor::Place& chunk) {
    auto plain = all_.second_look_.read(
        [&] { return blobs_.read(repo::BlobKind::content, chunk.id); });
    if (plain->size() != chunk.length) {
      throw repo::CorruptionError("blob " + chunk.id.brief() +
                                  ": is not as long as its list says");
    }
    return plain;
  }

  static void write(UnfinishedFile& file,
                    const repo::StreamCursor::Place& chunk,
                    std::span<const std::byte> bytes) {
    file.holes.for_each_piece(
        {chunk.offset, chunk.length},
        [&](const repo::Extent& piece, std::uint64_t at) {
          file.target->write(piece.offset, bytes.subspan(at, piece.size));
        });
  }

  // Whether the old file has this chunk where it belongs, and so in present_:
  // its bytes need not be decoded to know.
  bool is_in_old(const UnfinishedFile& file,
                 const repo::StreamCursor::Place& chunk) {
    return is_read(file, chunk,
                   [&](std::uint64_t offset, std::span<std::byte> out) {
                     return file.target->read_old(offset, out);
                   });
  }

  bool is_in_target(const UnfinishedFile& file,
                    const repo::StreamCursor::Place& chunk) {
    return is_read(file, chunk,
                   [&](std::uint64_t offset, std::span<std::byte> out) {
                     return file.target->read(offset, out);
                   });
  }

  template <typename Read>
  bool is_read(const UnfinishedFile& file,
               const repo::StreamCursor::Place& chunk, Read read) {
    present_.resize(static_cast<std::size_t>(chunk.length));
    const std::span<std::byte> bytes = present_;
    bool is_whole = true;
    file.holes.for_each_piece({chunk.offset, chunk.length},
                              [&](const repo::Extent& piece, std::uint64_t at) {
                                const auto out = bytes.subspan(at, piece.size);
                                is_whole = is_whole && read(piece.offset,
                                                            out) == out.size();
                              });
    return is_whole && all_.repository_.keyring().id_of(repo::BlobKind::content,
                                                        bytes) == chunk.id;
  }

  void finish(UnfinishedFile& file, const std::stop_token& stop) {
    if (!file.has_failed) {
      attempt(file, [&] {
        if (!file.weave && file.target->is_replaced()) carry_over(file, stop);
        if (all_.read_back_ == ReadBack::yes) read_back(file);
        std::move(*file.target).finish();
      });
    }
    file.target.reset();
    if (!file.has_failed) ++all_.tally_.files;
    ++all_.progress_.items_done;
    all_.ended(file);
  }

  // Writes to the new file what the old one has and what was left there before
  // it was known that there has to be a new one.
  void carry_over(UnfinishedFile& file, const std::stop_token& stop) {
    repo::StreamCursor chunks(blobs_, file.rows);
    std::uint64_t offset = 0;
    while (offset < file.left_end) {
      if (stop.stop_requested()) throw repo::Cancelled("restore: stopped");
      const auto chunk =
          all_.second_look_.read([&] { return chunks.at(offset); });
      if (!chunk) break;
      if (is_in_old(file, *chunk)) {
        write(file, *chunk, present_);
      } else if (!is_in_target(file, *chunk)) {
        throw repo::IoError(file.target->path() +
                            ": changed while it was being restored");
      }
      offset += chunk->length;
    }
  }

  void read_back(const UnfinishedFile& file) {
    if (file.weave) return read_weave_back(file);
    repo::StreamCursor chunks(blobs_, file.rows);
    std::uint64_t offset = 0;
    while (const auto chunk =
               all_.second_look_.read([&] { return chunks.at(offset); })) {
      if (!is_in_target(file, *chunk)) {
        throw ReadBackError(file.target->path() +
                            ": read back, it is not what was written, at " +
                            std::to_string(offset) + " of its content");
      }
      offset += chunk->length;
    }
    ++all_.tally_.files_read_back;
  }

  void read_weave_back(const UnfinishedFile& file) {
    constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
    present_.resize(kBlockBytes);
    repo::WeaveDigester digester;
    std::uint64_t offset = 0;
    while (const std::size_t size = file.target->read(offset, present_)) {
      digester.add(std::span(present_).first(size));
      offset += size;
    }
    if (digester.finish() != file.weave->digest) {
      throw ReadBackError(file.target->path() +
                          ": read back, it is not what was written");
    }
    ++all_.tally_.files_read_back;
  }

  ContentWriters& all_;
  repo::BlobReader blobs_;
  std::vector<std::byte> present_;  // reused between chunks
};

ContentWriters::ContentWriters(repo::Repository& repository,
                               SecondLook& second_look, RestoreTally& tally,
                               repo::Progress& progress, ReadBack read_back,
                               unsigned workers, std::stop_token stop)
    : repository_(repository),
      second_look_(second_look),
      tally_(tally),
      progress_(progress),
      read_back_(read_back),
      blobs_(repository.blobs()),
      batches_(kQueuedBatches),
      workers_(std::move(stop)) {
  assert(workers > 0);
  for (unsigned i = 0; i < workers; ++i) {
    workers_.start(
        [worker = Worker(*this)](const std::stop_token& token) mutable {
          worker.run(token);
        });
  }
}

ContentWriters::~ContentWriters() = default;

void ContentWriters::wait_for_room(const repo::Entry& entry) {
  const std::uint64_t weight = weight_of(entry);
  wait_until([&] {
    return unfinished_ == 0 || unfinished_ + weight <= kMaxUnfinished;
  });
}

void ContentWriters::add(TargetFile target, const repo::Entry& entry,
                         std::span<const repo::Link> rows, std::string path) {
  // Shared, see Part.
  const auto file = std::make_shared<UnfinishedFile>(std::move(target), entry,
                                                     rows, std::move(path));
  {
    const std::lock_guard lock(mutex_);
    unfinished_ += file->weight;
  }
  if (!file->weave) list_chunks(file);
  // With a part still here, the last to be completed is a worker's.
  part_of(file);
  --file->unfinished_parts;
  if (batch_.size() >= kBatchFiles || file->weave) send_batch();
}

void ContentWriters::list_chunks(const std::shared_ptr<UnfinishedFile>& file) {
  repo::StreamCursor chunks(blobs_, file->rows);
  std::uint64_t offset = 0;
  std::optional<repo::StreamCursor::Place> chunk;
  do {
    auto failure = failure_of(file->path, [&] {
      chunk = second_look_.read([&] { return chunks.at(offset); });
    });
    if (failure) {
      fail(*file, std::move(*failure));
      break;
    }
    if (!chunk) break;
    part_of(file).chunks.push_back(*chunk);
    offset += chunk->length;
    batch_bytes_ += chunk->length;
    if (batch_bytes_ >= kBatchBytes) send_batch();
  } while (!file->has_failed);
}

// That of the batch, which is made if there is none.
ContentWriters::Part& ContentWriters::part_of(
    const std::shared_ptr<UnfinishedFile>& file) {
  if (batch_.empty() || batch_.back().file != file) {
    ++file->unfinished_parts;
    batch_.push_back({file, {}});
  }
  return batch_.back();
}

void ContentWriters::fail(UnfinishedFile& file, RestoreFailure failure) {
  if (file.has_failed.exchange(true)) return;
  tally_.add(std::move(failure));
}

void ContentWriters::send_batch() {
  if (batch_.empty()) return;
  batch_bytes_ = 0;
  if (!batches_.push(std::exchange(batch_, {}), workers_.token())) give_up();
}

void ContentWriters::ended(const UnfinishedFile& file) {
  {
    const std::lock_guard lock(mutex_);
    unfinished_ -= file.weight;
    ++ended_;
  }
  changed_.notify_all();
}

template <typename Condition>
void ContentWriters::wait_until(Condition condition) {
  {
    const std::lock_guard lock(mutex_);
    if (condition()) return;
  }
  send_batch();  // what is waited for may be in it
  bool is_so = false;
  {
    std::unique_lock lock(mutex_);
    is_so = changed_.wait(lock, workers_.token(), condition);
  }
  if (!is_so) give_up();
}

std::uint64_t ContentWriters::ended_count() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

void ContentWriters::wait_for_more_than(std::uint64_t ended) {
  wait_until([&] { return ended_ > ended; });
}

void ContentWriters::check() {
  if (workers_.token().stop_requested()) give_up();
}

void ContentWriters::finish() {
  send_batch();
  batches_.close();
  workers_.join();
  check();
}

void ContentWriters::give_up() {
  workers_.join();
  throw repo::Cancelled("restore: stopped");
}

}  // namespace cairn::ingest
