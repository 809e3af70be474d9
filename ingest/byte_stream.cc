#include "ingest/byte_stream.h"

#include <utility>

#include "ingest/child_process.h"
#include "ingest/patient_io.h"

namespace cairn::ingest {
namespace {

class DescriptorStream : public ByteStream {
 public:
  explicit DescriptorStream(int fd) : fd_(fd) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    return read_patiently(fd_, out, stop);
  }
  void finish(std::stop_token) override {}

 private:
  int fd_;
};

class Borrowed : public ByteStream {
 public:
  explicit Borrowed(ByteStream& stream) : stream_(stream) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    return stream_.read(out, std::move(stop));
  }
  void finish(std::stop_token stop) override {
    stream_.finish(std::move(stop));
  }

 private:
  ByteStream& stream_;
};

class CommandStream : public ByteStream {
 public:
  explicit CommandStream(const std::vector<std::string>& arguments)
      : child_(arguments, ChildProcess::Input::empty,
               ChildProcess::Errors::ours) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    return read_patiently(child_.output(), out, stop);
  }
  void finish(std::stop_token stop) override { child_.wait(stop); }

 private:
  ChildProcess child_;
};

}  // namespace

std::unique_ptr<ByteStream> read_descriptor(int fd) {
  return std::make_unique<DescriptorStream>(fd);
}

std::unique_ptr<ByteStream> borrowed(ByteStream& stream) {
  return std::make_unique<Borrowed>(stream);
}

std::unique_ptr<ByteStream> run_command(
    const std::vector<std::string>& arguments) {
  return std::make_unique<CommandStream>(arguments);
}

}  // namespace cairn::ingest
