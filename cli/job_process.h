// A run of a job in a process of its own: what fails in it, or kills it, harms
// no other job and no daemon.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/child_process.h"

namespace cairn::cli {

// Threads        one at a time, that which made it.
// Abandonment    the program is terminated, with all that it started.
class JobProcess {
 public:
  using Tell = std::function<void(std::string_view line)>;

  // `command` is the program and its arguments; `tell` is called with each line
  // that it writes, within read() and has_ended(). Throws
  // ingest::ProducerFailed when it cannot be started.
  JobProcess(const std::vector<std::string>& command, Tell tell);

  // For poll(2): becomes readable with its output, and stays so at its end.
  // -1: there will be no more.
  [[nodiscard]] int fd() const noexcept;
  void read();

  // Takes what it wrote last, once it has.
  [[nodiscard]] bool has_ended();

  void terminate() const;

  // How it ended: "exited with 3"; empty: well. Requires: has_ended().
  [[nodiscard]] std::string failure();
  // What it exited with; nothing: a signal ended it. Requires: failure() has
  // said how.
  [[nodiscard]] std::optional<int> exit_status() const noexcept {
    return child_.exit_status();
  }

 private:
  static constexpr std::size_t kMaxLine = 4096;  // bytes; more is broken up
  void add(std::string_view text);
  void tell_line();

  ingest::ChildProcess child_;
  Tell tell_;
  std::string line_;
  bool is_open_ = true;
};

}  // namespace cairn::cli
