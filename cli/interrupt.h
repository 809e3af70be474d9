// Ctrl-C, SIGTERM and a terminal that hangs up as a request to stop. The first
// one asks; the second ends the process at once.
//
// Only commands that heed the request make one of these; the others, which only
// read and may wait for whoever takes their output, are simply ended by the
// signal, which harms nothing.
#pragma once

#include <signal.h>

#include <array>
#include <optional>
#include <stop_token>
#include <thread>

namespace cairn::cli {

// One at a time in a process.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Gives the signals back to whoever had them.
  ~Interrupt();

  [[nodiscard]] std::stop_token token() const noexcept {
    return stop_.get_token();
  }

  // Becomes readable with the first signal and stays so; for poll(2).
  [[nodiscard]] int fd() const noexcept { return fds_[0]; }

  // The signal that came during the life of any Interrupt.
  [[nodiscard]] static std::optional<int> received() noexcept;

 private:
  void watch();

  int fds_[2];  // a pipe: the handler writes, watch() sees it
  std::array<struct sigaction, 3> before_;
  std::stop_source stop_;
  std::jthread watcher_;
};

// So that writing to a pipe that nobody reads is an error to be handled. Not
// inherited by the programs we start.
void ignore_broken_pipes();

}  // namespace cairn::cli
