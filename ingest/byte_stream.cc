#include "ingest/byte_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
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

    std::vector<char*> argv;
    for (const auto& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const int error = start(ends[1], argv);
    ::close(ends[1]);
    if (error != 0) {
      ::close(out_);
      fail_to_start(error);
    }
    constexpr int kPipeBytes = 1 << 20;
    ::fcntl(out_, F_SETPIPE_SZ, kPipeBytes);  // may be refused; then smaller
  }

  // The whole group, of which the program is the leader: as long as that was
  // not waited for, nobody else can have its number.
  ~CommandStream() override {
    ::close(out_);
    if (child_ < 0) return;
    ::kill(-child_, SIGTERM);
    constexpr int kGraceSteps = 50;
    constexpr std::chrono::milliseconds kStep{100};
    for (int i = 0; i < kGraceSteps && is_running(); ++i) {
      std::this_thread::sleep_for(kStep);
    }
    ::kill(-child_, SIGKILL);
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
  // 0 or an errno. By hand, since posix_spawn knows no signal for a parent's
  // death. Between fork and exec nothing that may take a lock is called: other
  // threads' locks are copied, not their threads.
  int start(int output, const std::vector<char*>& argv) {
    std::array<int, 2> failure{};
    if (::pipe2(failure.data(), O_CLOEXEC) != 0) return errno;
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ == 0) become(parent, output, failure[1], argv);
    const int not_forked = child_ < 0 ? errno : 0;
    ::close(failure[1]);
    int error = not_forked;
    if (child_ > 0) {
      ::setpgid(child_, child_);  // the child does so too; whoever is first
      ssize_t size = 0;
      do {
        size = ::read(failure[0], &error, sizeof error);
      } while (size < 0 && errno == EINTR);
      if (size == sizeof error) {
        while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
        }
        child_ = -1;
      } else {
        error = 0;
      }
    }
    ::close(failure[0]);
    return error;
  }

  // The child: a group of its own, so that all it starts can be ended with it,
  // and its own end when the thread that started it is gone.
  [[noreturn]] void become(pid_t parent, int output, int failure,
                           const std::vector<char*>& argv) const {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    // A program starts with the signals at their defaults, whatever we block.
    // Two stay ignored: out of the foreground, one that asks for a password at
    // the terminal would be stopped for ever; so it is refused.
    struct sigaction defaults {};
    defaults.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) {
      ::sigaction(number, &defaults, nullptr);
    }
    struct sigaction ignored {};
    ignored.sa_handler = SIG_IGN;
    ::sigaction(SIGTTIN, &ignored, nullptr);
    ::sigaction(SIGTTOU, &ignored, nullptr);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int input = ::open("/dev/null", O_RDONLY);
    const bool is_joined = input >= 0 && ::dup2(input, STDIN_FILENO) >= 0 &&
                           ::dup2(output, STDOUT_FILENO) >= 0;
    if (input > STDERR_FILENO) ::close(input);
    if (output == STDOUT_FILENO) ::fcntl(output, F_SETFD, 0);
    if (is_joined) ::execvp(argv[0], argv.data());
    const int error = errno;
    (void)!::write(failure, &error, sizeof error);
    ::_exit(1);
  }

  // Without taking its end away from waitpid().
  [[nodiscard]] bool is_running() const {
    siginfo_t ended{};
    const int answer = ::waitid(P_PID, static_cast<id_t>(child_), &ended,
                                WEXITED | WNOHANG | WNOWAIT);
    return answer != 0 ? errno == EINTR : ended.si_pid == 0;
  }

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
