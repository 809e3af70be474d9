// What a restore has done and what failed, as its threads tell it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "ingest/restore.h"
#include "repo/error.h"

namespace cairn::ingest {

// What was read back from the target is not what was written.
struct ReadBackError : repo::Error {
  using repo::Error::Error;
};

// Of the exception that is being handled. Throws it again when it makes going
// on pointless, or was none of an entry.
[[nodiscard]] RestoreFailure failure_at(const std::string& path);

// The boundary around one entry: runs `step`. Nothing: it went well.
template <typename Step>
[[nodiscard]] std::optional<RestoreFailure> failure_of(const std::string& path,
                                                       Step step) {
  try {
    step();
    return std::nullopt;
  } catch (const repo::Error&) {
    return failure_at(path);
  }
}

// Threads        all members from many threads.
class RestoreTally {
 public:
  std::atomic<std::uint64_t> files = 0;
  std::atomic<std::uint64_t> hard_links = 0;
  std::atomic<std::uint64_t> folders = 0;
  std::atomic<std::uint64_t> symlinks = 0;
  std::atomic<std::uint64_t> others = 0;
  std::atomic<std::uint64_t> kept = 0;
  std::atomic<std::uint64_t> files_read_back = 0;
  std::atomic<std::uint64_t> bytes_written = 0;
  std::atomic<std::uint64_t> bytes_unchanged = 0;

  void add(RestoreFailure failure);

  // Without the shortfalls.
  [[nodiscard]] RestoreReport report() const;

 private:
  mutable std::mutex mutex_;  // guards the members below
  std::vector<RestoreFailure> failures_;
  std::uint64_t failure_count_ = 0;
  std::uint64_t damage_count_ = 0;
};

}  // namespace cairn::ingest
