#include "ingest/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
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

#include "ingest/byte_stream.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

std::string describe(const std::string& program, int status) {
  if (WIFSIGNALED(status)) {
    return program + ": died by signal " + std::to_string(WTERMSIG(status));
  }
  return program + ": exited with " + std::to_string(WEXITSTATUS(status));
}

struct Pipe {
  UniqueFd out;
  UniqueFd in;
};

// Nothing in `out`: errno says why.
Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// May be refused, and is smaller then.
void enlarge(int pipe) {
  constexpr int kPipeBytes = 1 << 20;
  ::fcntl(pipe, F_SETPIPE_SZ, kPipeBytes);
}

// A file that holds so many bytes and no more: what is written behind them is
// refused, so that a program cannot fill our memory, nor wait for somebody to
// read a pipe.
UniqueFd make_file_of_fixed_size(std::size_t size) {
  UniqueFd file(
      ::memfd_create("standard error", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
    return {};
  }
  return file;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments,
                           Input input, Errors errors,
                           std::optional<Identity> identity)
    : program_(arguments.at(0)), identity_(identity) {
  Pipe to_us = make_pipe();
  if (!to_us.out) fail_to_start(errno);
  Pipe from_us;
  if (input == Input::pipe) {
    from_us = make_pipe();
    if (!from_us.out || ::fcntl(from_us.in.get(), F_SETFL, O_NONBLOCK) != 0) {
      fail_to_start(errno);
    }
    enlarge(from_us.in.get());
  }
  if (errors == Errors::kept) {
    errors_ = make_file_of_fixed_size(kMaxErrorBytes);
    if (!errors_) fail_to_start(errno);
  }

  std::vector<char*> argv;
  for (const auto& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  const int error = start(from_us.out.get(), to_us.in.get(), argv);
  if (error != 0) fail_to_start(error);
  output_ = std::move(to_us.out);
  input_ = std::move(from_us.in);
  enlarge(output_.get());
}

// The whole group, of which the program is the leader: as long as that was not
// waited for, nobody else can have its number.
ChildProcess::~ChildProcess() {
  output_ = UniqueFd();
  input_ = UniqueFd();
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

// Polls: what could wait for a process and a stop at once, a pidfd, is not in
// every kernel. Mostly the program has ended with its output.
void ChildProcess::wait(const std::stop_token& stop) {
  assert(child_ >= 0);
  constexpr std::chrono::milliseconds kLongestPause{100};
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
    pause = std::min(2 * pause, kLongestPause);
  }
  child_ = -1;
  if (WIFEXITED(status)) exit_status_ = WEXITSTATUS(status);
  if (exit_status_ != 0) {
    throw ProducerFailed(describe(program_, status));
  }
}

void ChildProcess::send(int signal) const {
  assert(child_ >= 0);
  ::kill(child_, signal);
}

std::string ChildProcess::errors() const {
  if (!errors_) return {};
  std::string text(kMaxErrorBytes, '\0');
  const ssize_t size = ::pread(errors_.get(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

// 0 or an errno. By hand, since posix_spawn knows no signal for a parent's
// death. Between fork and exec nothing that may take a lock is called: other
// threads' locks are copied, not their threads.
int ChildProcess::start(int input, int output, const std::vector<char*>& argv) {
  Pipe failure = make_pipe();
  if (!failure.out) return errno;
  const pid_t parent = ::getpid();
  child_ = ::fork();
  if (child_ == 0) become(parent, input, output, failure.in.get(), argv);
  int error = child_ < 0 ? errno : 0;
  failure.in = UniqueFd();
  if (child_ > 0) {
    ::setpgid(child_, child_);  // the child does so too; whoever is first
    ssize_t size = 0;
    do {
      size = ::read(failure.out.get(), &error, sizeof error);
    } while (size < 0 && errno == EINTR);
    if (size == sizeof error) {
      while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
      }
      child_ = -1;
    } else {
      error = 0;
    }
  }
  return error;
}

// The child: a group of its own, so that all it starts can be ended with it,
// and its own end when the thread that started it is gone.
void ChildProcess::become(pid_t parent, int input, int output, int failure,
                          const std::vector<char*>& argv) const {
  ::setpgid(0, 0);
  const bool is_become =
      !identity_ ||
      (::setgroups(0, nullptr) == 0 &&
       ::setresgid(identity_->group, identity_->group, identity_->group) == 0 &&
       ::setresuid(identity_->user, identity_->user, identity_->user) == 0);
  const int refusal = errno;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // which another identity takes away
  if (::getppid() != parent) ::_exit(1);
  if (!is_become) {
    (void)!::write(failure, &refusal, sizeof refusal);
    ::_exit(1);
  }
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
  const int in = input >= 0 ? input : ::open("/dev/null", O_RDONLY);
  const bool is_joined =
      in >= 0 && ::dup2(in, STDIN_FILENO) >= 0 &&
      ::dup2(output, STDOUT_FILENO) >= 0 &&
      (!errors_ || ::dup2(errors_.get(), STDERR_FILENO) >= 0);
  if (input < 0 && in > STDERR_FILENO) ::close(in);
  if (output == STDOUT_FILENO) ::fcntl(output, F_SETFD, 0);
  if (is_joined) ::execvp(argv[0], argv.data());
  const int error = errno;
  (void)!::write(failure, &error, sizeof error);
  ::_exit(1);
}

// Without taking its end away from waitpid().
bool ChildProcess::is_running() const {
  siginfo_t ended{};
  const int answer = ::waitid(P_PID, static_cast<id_t>(child_), &ended,
                              WEXITED | WNOHANG | WNOWAIT);
  return answer != 0 ? errno == EINTR : ended.si_pid == 0;
}

void ChildProcess::fail_to_start(int error) const {
  throw ProducerFailed(program_ + ": cannot start: " + std::strerror(error));
}

}  // namespace cairn::ingest
