// What this machine remembers of the runs of its jobs: when each began and
// ended, how it went, source by source. The schedule takes from it what was
// missed, the status what is old, the alerts what changed.
//
// It is a help, not a truth: snapshots in the repository say what is saved. A
// log that is lost or damaged is begun anew, and said to be.
//
// On disk: one file for each job of a repository, STATE/runs/<name>.jsonl, one
// line a run, the oldest first; cut to the newest kKept when it grows past
// twice that. Written whole under another name, synced and renamed, or appended
// in one write and synced; a last line that is cut short is passed over.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "service/timetable.h"

namespace cairn::service {

enum class RunOutcome { complete, partial, failed, interrupted };

struct SourceRun {
  std::string name;
  RunOutcome outcome = RunOutcome::complete;
  std::uint64_t bytes = 0;  // read
  double seconds = 0;
  std::string message = {};  // why it is not complete
};

struct JobRun {
  Moment began;
  Moment ended;
  RunOutcome outcome = RunOutcome::complete;
  int exit_code = 0;
  std::optional<std::string> snapshot = {};  // hex id
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_new = 0;  // stored
  std::string message = {};     // why it is not complete
  std::vector<SourceRun> sources = {};
};

// Threads and processes: any number read; whoever appends holds the job's lock
// (cli/job_lock.h).
class RunLog {
 public:
  static constexpr std::size_t kKept = 400;

  // `state` is where this program keeps its state. Creates nothing.
  RunLog(const std::filesystem::path& state, const std::string& repository,
         const std::string& series);

  // Durable when it returns. Throws repo::IoError.
  void append(const JobRun& run);

  // The newest last. Lines that make no sense are left out, and counted.
  [[nodiscard]] std::vector<JobRun> read() const;
  [[nodiscard]] std::size_t damaged_lines() const;  // of the last read()
};

}  // namespace cairn::service
