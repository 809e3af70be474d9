#include "ingest/byte_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "repo/error.h"

extern char** environ;

namespace cairn::ingest {
namespace {

// How long anything waits before it looks whether it should stop.
constexpr std::chrono::milliseconds kPatience{100};

std::size_t read_when_ready(int fd, std::span<std::byte> out,
                            const std::stop_token& stop) {
  while (true) {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    pollfd ready{fd, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(kPatience.count()));
    if (count == 0 || (count < 0 && errno == EINTR)) continue;
    const ssize_t size = ::read(fd, out.data(), out.size());
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EINTR || errno == EAGAIN) continue;
    throw repo::IoError(std::string("cannot read the stream: ") +
                        std::strerror(errno));
  }
}

class DescriptorStream : public ByteStream {
 public:
  explicit DescriptorStream(int fd) : fd_(fd) {}

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    return read_when_ready(fd_, out, stop);
  }
  void finish(std::stop_token) override {}

 private:
  int fd_;
};

std::string describe(const std::string& program, int status) {
  if (WIFSIGNALED(status)) {
    return program + ": died by signal " + std::to_string(WTERMSIG(status));
  }
  return program + ": exited with " + std::to_string(WEXITSTATUS(status));
}

class CommandStream : public ByteStream {
 public:
  explicit CommandStream(const std::vector<std::string>& arguments)
      : program_(arguments.at(0)) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_to_start(errno);
    out_ = ends[0];

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                     O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    // A program starts with the signals at their defaults, whatever we block.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    std::vector<char*> argv;
    for (const auto& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const int error = ::posix_spawnp(&child_, program_.c_str(), &actions,
                                     &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    ::close(ends[1]);
    if (error != 0) {
      child_ = -1;
      ::close(out_);
      fail_to_start(error);
    }
    constexpr int kPipeBytes = 1 << 20;
    ::fcntl(out_, F_SETPIPE_SZ, kPipeBytes);  // may be refused; then smaller
  }

  ~CommandStream() override {
    ::close(out_);
    if (child_ < 0) return;
    ::kill(child_, SIGTERM);
    constexpr int kGraceSteps = 50;
    constexpr std::chrono::milliseconds kStep{100};
    for (int i = 0; i < kGraceSteps; ++i) {
      if (::waitpid(child_, nullptr, WNOHANG) != 0) return;
      std::this_thread::sleep_for(kStep);
    }
    ::kill(child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  std::size_t read(std::span<std::byte> out, std::stop_token stop) override {
    return read_when_ready(out_, out, stop);
  }

  // Polls: what could wait for a process and a stop at once, a pidfd, is not in
  // every kernel. Mostly the program has ended with its output.
  void finish(std::stop_token stop) override {
    assert(child_ >= 0);
    int status = 0;
    std::chrono::milliseconds pause{1};
    for (;;) {
      const pid_t ended = ::waitpid(child_, &status, WNOHANG);
      if (ended == child_) break;
      if (ended < 0 && errno != EINTR) {
        child_ = -1;
        throw ProducerFailed(program_ + ": lost");
      }
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kPatience);
    }
    child_ = -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      throw ProducerFailed(describe(program_, status));
    }
  }

 private:
  [[noreturn]] void fail_to_start(int error) const {
    throw ProducerFailed(program_ + ": cannot start: " + std::strerror(error));
  }

  std::string program_;
  pid_t child_ = -1;
  int out_ = -1;
};

}  // namespace

std::unique_ptr<ByteStream> read_descriptor(int fd) {
  return std::make_unique<DescriptorStream>(fd);
}

std::unique_ptr<ByteStream> run_command(
    const std::vector<std::string>& arguments) {
  return std::make_unique<CommandStream>(arguments);
}

}  // namespace cairn::ingest
