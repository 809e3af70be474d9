#include "ingest/stream_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ingest/file_error.h"
#include "ingest/hole_map.h"
#include "ingest/run_window.h"
#include "ingest/second_look.h"
#include "ingest/stage_group.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

constexpr std::uint64_t kRunBytes = std::uint64_t{1} << 20;
constexpr std::size_t kRunsAhead = 8;
constexpr std::size_t kMaxPieces = 4096;  // of a run

void decode(Run& run, repo::BlobReader& blobs, SecondLook& second_look,
            const std::stop_token& stop) {
  // Enough for comparing them side by side, few enough to be in the cache still
  // when that is done.
  constexpr std::size_t kAtOnce = 8;
  for (std::size_t first = 0; first < run.chunks.size(); first += kAtOnce) {
    if (stop.stop_requested()) return;
    const auto chunks = std::span(std::as_const(run.chunks)).subspan(first);
    std::vector<repo::BlobId> ids;
    for (const auto& chunk : chunks.first(std::min(kAtOnce, chunks.size()))) {
      ids.push_back(chunk.id);
    }
    auto plains = blobs.try_read(repo::BlobKind::content, ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      repo::PlainBlob& plain = plains[i];
      if (!plain) {
        plain = second_look.read(
            [&] { return blobs.read(repo::BlobKind::content, ids[i]); });
      }
      if (plain->size() != chunks[i].length) {
        throw repo::CorruptionError("blob " + ids[i].brief() +
                                    ": is not as long as its list says");
      }
      run.plain.push_back(std::move(plain));
    }
  }
}

// A failure waits for its turn, so that everything before it gets out.
void decode_runs(RunWindow& window, repo::BlobReader& blobs,
                 SecondLook& second_look, const std::stop_token& stop) {
  while (Run* const run = window.claim(stop)) {
    try {
      decode(*run, blobs, second_look, stop);
    } catch (const repo::Error&) {
      run->failure = std::current_exception();
    }
    if (stop.stop_requested()) return;  // it may not be whole
    window.decoded(run);
  }
}

// Reads the list of chunks as far as it is needed.
class Listing {
 public:
  Listing(repo::BlobReader& blobs, SecondLook& second_look,
          const repo::TreeEntry& entry)
      : second_look_(second_look),
        pieces_(blobs, entry.entry.weave, entry.rows) {}

  // Nothing: no more chunks. A failure, too, comes as the last run.
  [[nodiscard]] std::optional<Run> next() {
    Run run;
    try {
      fill(run);
    } catch (const repo::Error&) {
      run.failure = std::current_exception();
      has_failed_ = true;
    }
    if (run.pieces.empty() && !run.failure) return std::nullopt;
    return run;
  }

 private:
  void fill(Run& run) {
    std::uint64_t bytes = 0;
    while (!has_failed_ && bytes < kRunBytes &&
           run.pieces.size() < kMaxPieces) {
      const auto piece = second_look_.read([&] { return pieces_.next(); });
      if (!piece) break;
      const bool begins_chunk =
          current_chunk_[piece->part] != piece->chunk.offset;
      if (begins_chunk) {
        current_chunk_[piece->part] = piece->chunk.offset;
        run.chunks.push_back(piece->chunk);
        bytes += piece->chunk.length;
      }
      run.pieces.push_back({*piece, begins_chunk});
    }
  }

  SecondLook& second_look_;
  repo::PieceCursor pieces_;
  // By its offset, for each part.
  std::array<std::optional<std::uint64_t>, repo::kMaxWeaveParts> current_chunk_;
  bool has_failed_ = false;
};

// Puts pieces together and holes back.
class Writer {
 public:
  Writer(const repo::Entry& entry, const ByteSink& sink,
         repo::Progress& progress)
      : size_(entry.size),
        weave_(entry.weave),
        holes_(entry),
        sink_(sink),
        progress_(progress) {}

  // As far as chunks of it could be decoded.
  [[nodiscard]] repo::Visit write(Run& run) {
    std::size_t chunk = 0;
    for (const auto& [piece, begins_chunk] : run.pieces) {
      auto& current = current_[piece.part];
      if (begins_chunk) {
        if (chunk == run.plain.size()) break;
        current = std::move(run.plain[chunk++]);
      }
      const auto bytes = std::span<const std::byte>(*current).subspan(
          static_cast<std::size_t>(piece.from),
          static_cast<std::size_t>(piece.size));
      const auto next = weave_ ? gather(bytes) : give_at(piece.chunk, bytes);
      if (next == repo::Visit::stop) return next;
    }
    return give_gathered();
  }

  // Throws CorruptionError if it is not what was taken apart once.
  [[nodiscard]] repo::Visit finish() {
    if (weave_ && digester_.finish() != weave_->digest) {
      throw repo::CorruptionError(
          "its parts do not give the stream that was backed up");
    }
    return write_zeros(size_);
  }

 private:
  // Pieces of a weave may be small, and the sink costs a system call.
  [[nodiscard]] repo::Visit gather(std::span<const std::byte> bytes) {
    constexpr std::size_t kEnough = std::size_t{256} << 10;
    digester_.add(bytes);
    gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    return gathered_.size() < kEnough ? repo::Visit::go_on : give_gathered();
  }

  [[nodiscard]] repo::Visit give_gathered() {
    if (gathered_.empty()) return repo::Visit::go_on;
    const auto next = give(gathered_);
    gathered_.clear();
    return next;
  }

  // Of the content, in which holes are left out.
  [[nodiscard]] repo::Visit give_at(const repo::StreamCursor::Place& chunk,
                                    std::span<const std::byte> bytes) {
    auto next = repo::Visit::go_on;
    holes_.for_each_piece({chunk.offset, chunk.length},
                          [&](const repo::Extent& piece, std::uint64_t at) {
                            if (next == repo::Visit::go_on) {
                              next = write_zeros(piece.offset);
                            }
                            if (next == repo::Visit::go_on) {
                              next = give(bytes.subspan(at, piece.size));
                            }
                          });
    return next;
  }

  [[nodiscard]] repo::Visit write_zeros(std::uint64_t until) {
    static constexpr std::array<std::byte, 65536> kZeros{};
    while (written_ < until) {
      const auto part = std::span(kZeros).first(static_cast<std::size_t>(
          std::min<std::uint64_t>(kZeros.size(), until - written_)));
      if (give(part) == repo::Visit::stop) return repo::Visit::stop;
    }
    return repo::Visit::go_on;
  }

  [[nodiscard]] repo::Visit give(std::span<const std::byte> bytes) {
    written_ += bytes.size();
    progress_.bytes_done += bytes.size();
    return sink_(bytes);
  }

  const std::uint64_t size_;
  const std::optional<repo::Weave> weave_;
  const HoleMap holes_;
  const ByteSink& sink_;
  repo::Progress& progress_;
  repo::WeaveDigester digester_;
  std::array<repo::PlainBlob, repo::kMaxWeaveParts> current_;
  std::vector<std::byte> gathered_;
  std::uint64_t written_ = 0;
};

[[noreturn]] void throw_cancelled() {
  throw repo::Cancelled("stopped while it was written");
}

// Takes bytes for a file descriptor.
class FdSink {
 public:
  FdSink(int fd, std::stop_token stop) : fd_(fd), stop_(std::move(stop)) {
    // Larger than the usual 64 KiB of a pipe, so that neither side waits for
    // the other so often. Refused by what is no pipe.
    constexpr int kPipeBytes = 1 << 20;
    (void)fcntl(fd, F_SETPIPE_SZ, kPipeBytes);
  }

  repo::Visit operator()(std::span<const std::byte> bytes) const {
    constexpr int kPatienceMs = 1000;
    while (!bytes.empty()) {
      const ssize_t size = ::write(fd_, bytes.data(), bytes.size());
      if (size >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(size));
      } else if (errno == EPIPE) {
        return repo::Visit::stop;
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
        (void)poll(&ready, 1, kPatienceMs);  // the next write tells more
      } else if (errno != EINTR) {
        throw_io_error("output", "write", errno);
      }
      if (stop_.stop_requested()) throw_cancelled();
    }
    return repo::Visit::go_on;
  }

 private:
  int fd_;
  std::stop_token stop_;
};

}  // namespace

StreamEnd write_stream(repo::Repository& repository,
                       const repo::TreeEntry& entry, const ByteSink& sink,
                       repo::Progress& progress, std::stop_token stop,
                       unsigned workers) {
  assert(repo::has_content(entry.entry.type) && workers > 0);
  progress.bytes_total = entry.entry.size;
  SecondLook second_look(repository);
  repo::BlobReader list_blobs = repository.blobs();
  Listing listing(list_blobs, second_look, entry);
  Writer writer(entry.entry, sink, progress);
  RunWindow window(kRunsAhead);
  StageGroup decoders(std::move(stop));
  for (unsigned i = 0; i < workers; ++i) {
    decoders.start(
        [&, blobs = repository.blobs()](const std::stop_token& token) mutable {
          decode_runs(window, blobs, second_look, token);
        });
  }

  for (;;) {
    while (window.has_room()) {
      auto run = listing.next();
      if (!run) break;
      window.add(std::move(*run));
    }
    auto run = window.take_first(decoders.token());
    if (!run) break;
    if (writer.write(*run) == repo::Visit::stop) return StreamEnd::not_wanted;
    if (run->failure) std::rethrow_exception(run->failure);
  }
  if (decoders.token().stop_requested()) {
    decoders.join();
    throw_cancelled();
  }
  return writer.finish() == repo::Visit::go_on ? StreamEnd::complete
                                               : StreamEnd::not_wanted;
}

StreamEnd write_stream(repo::Repository& repository,
                       const repo::TreeEntry& entry, int fd,
                       repo::Progress& progress, std::stop_token stop,
                       unsigned workers) {
  const FdSink sink(fd, stop);
  return write_stream(repository, entry, ByteSink(sink), progress,
                      std::move(stop), workers);
}

}  // namespace cairn::ingest
