#include "cli/job_process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "ingest/byte_stream.h"

namespace cairn::cli {

JobProcess::JobProcess(const std::vector<std::string>& command, Tell tell)
    : child_(command, ingest::ChildProcess::Input::empty,
             ingest::ChildProcess::Errors::ours),
      tell_(std::move(tell)) {
  const int fd = child_.output();
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int JobProcess::fd() const noexcept { return is_open_ ? child_.output() : -1; }

void JobProcess::read() {
  std::array<char, kMaxLine> buffer{};
  while (is_open_) {
    const ssize_t count = ::read(child_.output(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      is_open_ = false;
    } else {
      add({buffer.data(), static_cast<std::size_t>(count)});
    }
  }
}

void JobProcess::add(std::string_view text) {
  for (const char c : text) {
    if (c != '\n') line_ += c;
    if (c == '\n' || line_.size() >= kMaxLine) tell_line();
  }
}

void JobProcess::tell_line() {
  tell_(line_);
  line_.clear();
}

// Not the end of its output, which what it left running may keep open.
bool JobProcess::has_ended() {
  if (child_.is_running()) return false;
  read();
  if (!line_.empty()) tell_line();
  return true;
}

void JobProcess::terminate() const { child_.send(SIGTERM); }

std::string JobProcess::failure() {
  try {
    child_.wait({});
    return "";
  } catch (const ingest::ProducerFailed& e) {
    // "/usr/bin/cairn: exited with 3"
    const std::string what = e.what();
    const auto at = what.rfind(": ");
    return at == what.npos ? what : what.substr(at + 2);
  }
}

}  // namespace cairn::cli
