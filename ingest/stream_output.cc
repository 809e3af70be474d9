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

void decode(Run& run, repo::BlobReader& blobs, SecondLook& second_look,
            const std::stop_token& stop) {
  for (const auto& chunk : run.chunks) {
    if (stop.stop_requested()) return;
    repo::PlainBlob plain = second_look.read(
        [&] { return blobs.read(repo::BlobKind::content, chunk.id); });
    if (plain->size() != chunk.length) {
      throw repo::CorruptionError("blob " + chunk.id.brief() +
                                  ": is not as long as its list says");
    }
    run.plain.push_back(std::move(plain));
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
          const std::vector<repo::Link>& rows)
      : second_look_(second_look), chunks_(blobs, rows) {}

  // Nothing: no more chunks. A failure, too, comes as the last run.
  [[nodiscard]] std::optional<Run> next() {
    Run run;
    try {
      fill(run);
    } catch (const repo::Error&) {
      run.failure = std::current_exception();
      has_failed_ = true;
    }
    if (run.chunks.empty() && !run.failure) return std::nullopt;
    return run;
  }

 private:
  void fill(Run& run) {
    std::uint64_t bytes = 0;
    while (!has_failed_ && bytes < kRunBytes) {
      const auto chunk = second_look_.read([&] { return chunks_.at(offset_); });
      if (!chunk) break;
      run.chunks.push_back(*chunk);
      bytes += chunk->length;
      offset_ += chunk->length;
    }
  }

  SecondLook& second_look_;
  repo::StreamCursor chunks_;
  std::uint64_t offset_ = 0;  // in the content
  bool has_failed_ = false;
};

// Puts the holes back.
class Writer {
 public:
  Writer(const repo::Entry& entry, const ByteSink& sink,
         repo::Progress& progress)
      : size_(entry.size), holes_(entry), sink_(sink), progress_(progress) {}

  [[nodiscard]] repo::Visit write(const Run& run) {
    auto next = repo::Visit::go_on;
    for (std::size_t i = 0; i < run.plain.size(); ++i) {
      const auto& chunk = run.chunks[i];
      const std::span<const std::byte> bytes = *run.plain[i];
      holes_.for_each_piece({chunk.offset, chunk.length},
                            [&](const repo::Extent& piece, std::uint64_t at) {
                              if (next == repo::Visit::go_on)
                                next = write_zeros(piece.offset);
                              if (next == repo::Visit::go_on) {
                                next = give(bytes.subspan(at, piece.size));
                              }
                            });
      if (next == repo::Visit::stop) break;
    }
    return next;
  }

  [[nodiscard]] repo::Visit finish() { return write_zeros(size_); }

 private:
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
  const HoleMap holes_;
  const ByteSink& sink_;
  repo::Progress& progress_;
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
  Listing listing(list_blobs, second_look, entry.rows);
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
    const auto run = window.take_first(decoders.token());
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
