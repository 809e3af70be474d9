// Bytes that come from somewhere and end: standard input, a command's output.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

namespace cairn::ingest {

// The producer of a stream failed, so that what was read is not its whole.
struct ProducerFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Threads        one thread at a time.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // At least one byte, waiting for it; 0 at the end. Throws repo::IoError,
  // repo::Cancelled when `stop` is requested while waiting.
  [[nodiscard]] virtual std::size_t read(std::span<std::byte> out,
                                         std::stop_token stop) = 0;

  // After the end: waits until it is known whether these were all the bytes.
  // Throws ProducerFailed when they were not, repo::Cancelled when `stop` is
  // requested while waiting.
  virtual void finish(std::stop_token stop) = 0;
};

// Reads a descriptor that stays the caller's.
[[nodiscard]] std::unique_ptr<ByteStream> read_descriptor(int fd);

// Reads a stream that stays its owner's.
[[nodiscard]] std::unique_ptr<ByteStream> borrowed(ByteStream& stream);

// Runs a program (found through PATH, no shell) and reads its standard output.
// Its standard error is ours, its standard input is empty. finish() waits for
// it, which may live on after its output has ended, and fails when it exited
// with anything but 0 or died by a signal. If the stream is destroyed before
// finish() has returned, the program is terminated with all that it started; it
// alone also when the thread that called this ends, however that does.
// Throws ProducerFailed when it cannot be started.
[[nodiscard]] std::unique_ptr<ByteStream> run_command(
    const std::vector<std::string>& arguments);

}  // namespace cairn::ingest
