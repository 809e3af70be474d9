#include "ingest/patient_io.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "repo/error.h"

namespace cairn::ingest {
namespace {

// How long anything waits before it looks whether it should stop.
constexpr std::chrono::milliseconds kPatience{100};

// False: not yet.
bool wait_for(int fd, short what, const std::stop_token& stop) {
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
  pollfd ready{fd, what, 0};
  const int count = ::poll(&ready, 1, static_cast<int>(kPatience.count()));
  return count != 0 && !(count < 0 && errno == EINTR);
}

}  // namespace

std::size_t read_patiently(int fd, std::span<std::byte> out,
                           const std::stop_token& stop) {
  while (true) {
    if (!wait_for(fd, POLLIN, stop)) continue;
    const ssize_t size = ::read(fd, out.data(), out.size());
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EINTR || errno == EAGAIN) continue;
    throw repo::IoError(std::string("cannot read the stream: ") +
                        std::strerror(errno));
  }
}

Written write_patiently(int fd, std::span<const std::byte> bytes,
                        const std::stop_token& stop) {
  while (!bytes.empty()) {
    if (!wait_for(fd, POLLOUT, stop)) continue;
    const ssize_t size = ::write(fd, bytes.data(), bytes.size());
    if (size >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(size));
      continue;
    }
    if (errno == EPIPE) return Written::nobody_reads;
    if (errno == EINTR || errno == EAGAIN) continue;
    throw repo::IoError(std::string("cannot write to a program: ") +
                        std::strerror(errno));
  }
  return Written::all;
}

}  // namespace cairn::ingest
