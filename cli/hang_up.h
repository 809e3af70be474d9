// SIGHUP as a word to a program that goes on: read your file again.
#pragma once

#include <signal.h>

namespace cairn::cli {

// One at a time in a process; made after an Interrupt, whose the signal is
// otherwise, and gone before it.
class HangUp {
 public:
  HangUp();
  HangUp(const HangUp&) = delete;
  HangUp& operator=(const HangUp&) = delete;

  // Gives the signal back to whoever had it.
  ~HangUp();

  // Becomes readable with each signal; for poll(2).
  [[nodiscard]] int fd() const noexcept { return fds_[0]; }

  // Whether any came since the last call.
  [[nodiscard]] bool take();

 private:
  int fds_[2];
  struct sigaction before_ {};
};

}  // namespace cairn::cli
