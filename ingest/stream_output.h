// The bytes of one file or stream, in order.
//
//   list the chunks --> runs of ~1 MiB --> decode --> put back in order, write
//        caller                          N workers          caller
//
// Memory: at most 8 runs, decoded or about to be.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <stop_token>

#include "repo/progress.h"
#include "repo/repository.h"
#include "repo/tree_reader.h"

namespace cairn::ingest {

// Takes the next bytes, on the caller's thread; `stop` when it wants no more.
using ByteSink = std::function<repo::Visit(std::span<const std::byte>)>;

enum class StreamEnd {
  complete,
  not_wanted,  // the sink stopped, or who read the other end went away
};

// Gives the content of `entry`, holes as zeros, to `sink`.
//
// Requires: repo::has_content(entry.entry.type).
// Throws repo::CorruptionError and so on; what the sink got before is right.
// repo::Cancelled when `stop` is requested.
[[nodiscard]] StreamEnd write_stream(repo::Repository& repository,
                                     const repo::TreeEntry& entry,
                                     const ByteSink& sink,
                                     repo::Progress& progress,
                                     std::stop_token stop,
                                     unsigned workers = 2);

// The same to a file descriptor: a pipe, a terminal, a file. Throws also
// repo::IoError, repo::OutOfSpace. A signal that interrupts a write is obeyed
// if it requested `stop`.
//
// Requires: SIGPIPE is ignored.
[[nodiscard]] StreamEnd write_stream(repo::Repository& repository,
                                     const repo::TreeEntry& entry, int fd,
                                     repo::Progress& progress,
                                     std::stop_token stop,
                                     unsigned workers = 2);

}  // namespace cairn::ingest
