#include "cli/hang_up.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <system_error>

namespace cairn::cli {
namespace {

std::atomic<int> wake_fd = -1;
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  const int error = errno;
  const char byte = 'h';
  (void)!::write(wake_fd, &byte, 1);
  errno = error;
}

}  // namespace

HangUp::HangUp() {
  assert(wake_fd == -1);
  if (::pipe2(fds_, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  wake_fd = fds_[1];
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGHUP, &action, &before_);
}

HangUp::~HangUp() {
  ::sigaction(SIGHUP, &before_, nullptr);
  wake_fd = -1;
  ::close(fds_[0]);
  ::close(fds_[1]);
}

bool HangUp::take() {
  std::array<char, 64> bytes;
  bool is_any = false;
  while (::read(fds_[0], bytes.data(), bytes.size()) > 0) is_any = true;
  return is_any;
}

}  // namespace cairn::cli
