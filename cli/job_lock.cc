#include "cli/job_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <span>
#include <string_view>

#include "crypto/digest.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

std::string file_name(const std::string& repository,
                      const std::string& series) {
  constexpr std::size_t kDigits = 32;
  const std::string both = repository + '\0' + series;
  return crypto::to_hex(crypto::sha256(std::as_bytes(std::span(both))))
             .substr(0, kDigits) +
         ".lock";
}

// Who holds it, as he wrote himself; empty: it cannot be told.
std::string holder(int fd) {
  std::array<char, 32> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  if (size <= 0) return "";
  const std::string_view all(text.data(), static_cast<std::size_t>(size));
  const auto digits = all.substr(0, all.find_first_not_of("0123456789"));
  return digits.empty() ? "" : ", process " + std::string(digits);
}

// Nobody tells us when a lock is let go of without waiting for it, and that
// wait could not be stopped.
void pause(const std::stop_token& stop) {
  constexpr std::chrono::milliseconds kPause{100};
  std::mutex mutex;  // for the condition alone
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, kPause, [] { return false; });
  if (stop.stop_requested()) throw repo::Cancelled("interrupted");
}

}  // namespace

JobLock::JobLock(const fs::path& folder, const std::string& repository,
                 const std::string& series, std::chrono::seconds patience,
                 const std::stop_token& stop) {
  const fs::path jobs = folder / "jobs";
  std::error_code error;
  fs::create_directories(jobs, error);
  const fs::path file = jobs / file_name(repository, series);
  fd_ = ingest::UniqueFd(
      ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd_) repo::throw_system_error(file.string(), errno);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      repo::throw_system_error(file.string(), errno);
    }
    if (std::chrono::steady_clock::now() >= end) {
      throw repo::LockedError("a run of " + series + " is at work" +
                              holder(fd_.get()) +
                              "; --wait SPAN waits for its end");
    }
    pause(stop);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_.get(), 0) != 0 ||
      ::pwrite(fd_.get(), pid.data(), pid.size(), 0) < 0) {
    // The lock is what counts; its name is for messages.
  }
}

}  // namespace cairn::cli
