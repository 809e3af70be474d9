#include "cli/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <system_error>

namespace cairn::cli {
namespace {

constexpr int kNoSignal = 0;
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

std::atomic<int> signal_received = kNoSignal;
std::atomic<int> wake_fd = -1;
static_assert(std::atomic<int>::is_always_lock_free);

void set_handler(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

void on_signal(int signal) {
  const int error = errno;
  if (signal_received.exchange(signal) != kNoSignal) {
    // Takes effect when this handler returns.
    set_handler(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  const char byte = 's';
  (void)!::write(wake_fd, &byte, 1);
  errno = error;
}

}  // namespace

Interrupt::Interrupt() {
  assert(wake_fd == -1);
  if (::pipe2(fds_, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  wake_fd = fds_[1];
  watcher_ = std::jthread([this] { watch(); });
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
    // Ignored since before our start: a job that nohup or a shell detached.
    if (before_[i].sa_handler != SIG_IGN) set_handler(kSignals[i], on_signal);
  }
}

Interrupt::~Interrupt() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  const char byte = 'q';
  (void)!::write(fds_[1], &byte, 1);
  watcher_.join();
  wake_fd = -1;
  ::close(fds_[0]);
  ::close(fds_[1]);
}

// A handler may not lock, and request_stop() does; so a thread waits for it.
void Interrupt::watch() {
  pollfd readable{fds_[0], POLLIN, 0};
  while (::poll(&readable, 1, -1) < 0) {
  }
  if (received()) stop_.request_stop();
}

std::optional<int> Interrupt::received() noexcept {
  const int signal = signal_received;
  if (signal == kNoSignal) return std::nullopt;
  return signal;
}

void ignore_broken_pipes() {
  // A handler, unlike SIG_IGN, does not survive exec.
  set_handler(SIGPIPE, [](int) {});
}

}  // namespace cairn::cli
