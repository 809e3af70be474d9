#include "cli/hook.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>
#include <thread>

#include "cli/time_limit.h"
#include "cli/time_text.h"
#include "ingest/byte_stream.h"
#include "ingest/child_process.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::size_t kMaxLine = 4096;  // bytes; what is longer is broken up

// Turns what a program writes into notes, a line each, until it has ended: not
// until its output has, which what it left running may keep open.
class Listener {
 public:
  Listener(int fd, std::string program, Output& output)
      : fd_(fd), program_(std::move(program)), output_(output) {
    ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_NONBLOCK);
    thread_ =
        std::jthread([this](const std::stop_token& ended) { listen(ended); });
  }

 private:
  void listen(const std::stop_token& ended) {
    constexpr int kPatience = 50;  // ms
    for (;;) {
      // Looked at first: what was written before the end is there to be read.
      const bool is_last = ended.stop_requested();
      pollfd readable{fd_, POLLIN, 0};
      if (!is_last) (void)::poll(&readable, 1, kPatience);
      const bool is_open = read_all_there_is();
      if (!is_open || is_last) break;
    }
    if (!line_.empty()) tell();
  }

  // False: its output has ended.
  bool read_all_there_is() {
    std::array<char, kMaxLine> buffer{};
    for (;;) {
      const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
      if (count == 0) return false;
      if (count < 0) return true;  // nothing yet
      add({buffer.data(), static_cast<std::size_t>(count)});
    }
  }

  void add(std::string_view text) {
    for (const char c : text) {
      if (c != '\n') line_ += c;
      if (c == '\n' || line_.size() >= kMaxLine) tell();
    }
  }

  void tell() {
    output_.note(program_ + ": " + line_);
    line_.clear();
  }

  int fd_;
  std::string program_;
  Output& output_;
  std::string line_;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace

void run_hook(const config::Hook& hook, Output& output,
              const std::stop_token& stop) {
  const std::string& program = hook.arguments.front();
  const TimeLimit limit(hook.timeout, stop);
  try {
    ingest::ChildProcess child(hook.arguments,
                               ingest::ChildProcess::Input::empty,
                               ingest::ChildProcess::Errors::ours);
    const Listener listener(child.output(), program, output);
    child.wait(limit.token());
  } catch (const ingest::ProducerFailed& e) {
    throw HookFailed(std::string("hook ") + e.what());
  } catch (const repo::Cancelled&) {
    if (stop.stop_requested()) throw;
    throw HookFailed("hook " + program + ": took longer than " +
                     duration_text(static_cast<double>(hook.timeout.count())) +
                     ", and was ended");
  }
}

}  // namespace cairn::cli
