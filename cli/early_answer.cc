#include "cli/early_answer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace cairn::cli {
namespace {

ExitCode wait_for_answer(int pipe, pid_t worker, ExitCode unknown) {
  unsigned char code = 0;
  ssize_t count = 0;
  do {
    count = ::read(pipe, &code, 1);
  } while (count < 0 && errno == EINTR);
  ::close(pipe);
  if (count == 1) return static_cast<ExitCode>(code);
  int status = 0;
  pid_t ended = 0;
  do {
    ended = ::waitpid(worker, &status, 0);
  } while (ended < 0 && errno == EINTR);
  if (ended != worker || !WIFEXITED(status)) return unknown;
  return static_cast<ExitCode>(WEXITSTATUS(status));
}

}  // namespace

EarlyAnswer::~EarlyAnswer() {
  if (pipe_ >= 0) ::close(pipe_);
}

std::optional<ExitCode> EarlyAnswer::split(ExitCode unknown) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  const pid_t caller = ::getpid();
  const pid_t worker = ::fork();
  if (worker > 0) {
    ::close(ends[1]);
    return wait_for_answer(ends[0], worker, unknown);
  }
  ::close(ends[0]);
  if (worker < 0) {
    ::close(ends[1]);
    return std::nullopt;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != caller) ::_exit(static_cast<int>(unknown));
  pipe_ = ends[1];
  return std::nullopt;
}

bool EarlyAnswer::answer(ExitCode code) {
  if (pipe_ < 0) return false;
  // Whoever reads what we write waits until nobody can write any more.
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (nothing >= 0) (void)::dup2(nothing, fd);
  }
  if (nothing >= 0) ::close(nothing);
  ::prctl(PR_SET_PDEATHSIG, 0);
  const auto byte = static_cast<unsigned char>(code);
  const bool is_given = ::write(pipe_, &byte, 1) == 1;
  ::close(pipe_);
  pipe_ = -1;
  return is_given;
}

}  // namespace cairn::cli
