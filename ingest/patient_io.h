// Reading and writing pipes in such a way that a request to stop is heeded
// while they wait.
#pragma once

#include <cstddef>
#include <span>
#include <stop_token>

namespace cairn::ingest {

// At least one byte, waiting for it; 0 at the end. Throws repo::IoError, and
// repo::Cancelled when `stop` is requested.
[[nodiscard]] std::size_t read_patiently(int fd, std::span<std::byte> out,
                                         const std::stop_token& stop);

enum class Written { all, nobody_reads };

// Writes all bytes, or as many as somebody reads. Throws as above.
//
// Requires: `fd` is a pipe that does not block, and SIGPIPE does not end the
// program.
[[nodiscard]] Written write_patiently(int fd, std::span<const std::byte> bytes,
                                      const std::stop_token& stop);

}  // namespace cairn::ingest
