// A program that we start, and that does not outlive us.
#pragma once

#include <sys/types.h>

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/unique_fd.h"

namespace cairn::ingest {

// Runs a program (found through PATH, no shell), whose standard output is a
// pipe. If it is destroyed before wait() has returned, the program is
// terminated with all that it started; it alone also when the thread that
// started it ends, however that does.
//
// Threads        one thread at a time; it must be started by one that lives as
//                long as it is needed.
class ChildProcess {
 public:
  enum class Input {
    empty,
    pipe,  // that does not block
  };
  enum class Errors {
    ours,
    kept,  // the first kMaxErrorBytes of them, for errors()
  };
  static constexpr std::size_t kMaxErrorBytes = 64U << 10;

  // Whom a program runs as that root starts.
  struct Identity {
    uid_t user = 0;
    gid_t group = 0;  // and no other
  };

  // Throws ProducerFailed when it cannot be started. `identity`: nothing means
  // ours.
  ChildProcess(const std::vector<std::string>& arguments, Input input,
               Errors errors, std::optional<Identity> identity = std::nullopt);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  [[nodiscard]] int output() const noexcept { return output_.get(); }
  [[nodiscard]] int input() const noexcept { return input_.get(); }
  void close_input() noexcept { input_ = UniqueFd(); }

  // Waits for its end, which may come after that of its output. Throws
  // ProducerFailed when it exited with anything but 0 or died by a signal,
  // repo::Cancelled when `stop` is requested while waiting. Once.
  void wait(const std::stop_token& stop);

  // That of a program that was waited for; nothing: a signal ended it.
  [[nodiscard]] std::optional<int> exit_status() const noexcept {
    return exit_status_;
  }

  // To it alone. Requires: wait() has not returned.
  void send(int signal) const;
  // wait() then still tells how it ended.
  [[nodiscard]] bool is_running() const;

  // What it has written to its standard error so far, if that is kept.
  [[nodiscard]] std::string errors() const;

 private:
  [[nodiscard]] int start(int input, int output,
                          const std::vector<char*>& argv);
  [[noreturn]] void become(pid_t parent, int input, int output, int failure,
                           const std::vector<char*>& argv) const;
  [[noreturn]] void fail_to_start(int error) const;

  std::string program_;
  std::optional<Identity> identity_;
  pid_t child_ = -1;
  std::optional<int> exit_status_;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd errors_;  // a file in memory that cannot grow
};

}  // namespace cairn::ingest
