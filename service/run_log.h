// What this machine remembers of the runs of its jobs: when each began and
// ended, how it went, source by source. The schedule takes from it what was
// missed, the status what is old, the alerts what changed.
//
// It is a help, not a truth: snapshots in the repository say what is saved. A
// line that is damaged is passed over, and counted.
//
//   begins 1 ... run 1 ... begins 2 ... begins 3 ... run 3
//                              ^ never ended: it was killed
//
// On disk: one file for each series of a repository, STATE/runs/<name>.jsonl,
// a line for the begin of a run and one for its end, the oldest first; cut to
// the newest kKept runs when it grows past twice that in lines. Written whole
// under another name, synced and renamed, or appended in one write and synced;
// a last line that is cut short is passed over.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/snapshot.h"
#include "service/timetable.h"

namespace cairn::service {

enum class RunOutcome { complete, partial, failed, interrupted };

[[nodiscard]] std::string_view name_of(RunOutcome outcome) noexcept;

// What a snapshot says of a source.
[[nodiscard]] RunOutcome outcome_of(repo::SourceStatus status) noexcept;

// What is called here a source is what the snapshot calls so: a run of the
// source `postgres` has postgres/globals.sql and postgres/shop.dump.
struct SourceRun {
  std::string name;  // any bytes; what is no UTF-8 comes back as U+FFFD
  RunOutcome outcome = RunOutcome::complete;
  std::uint64_t bytes = 0;             // read
  std::optional<double> seconds = {};  // nothing: not measured
  std::string message = {};            // why it is not complete

  bool operator==(const SourceRun&) const = default;
};

struct JobRun {
  Moment began;
  Moment ended;
  RunOutcome outcome = RunOutcome::complete;
  int exit_code = 0;
  std::optional<std::string> snapshot = {};  // hex id
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_new = 0;  // stored
  // Whether what it wrote was read back and found sound; nothing: not looked.
  std::optional<bool> verified = {};
  // Another run of the job was at work, and it did nothing.
  bool was_refused = false;
  std::string message = {};  // why it is not complete
  std::vector<SourceRun> sources = {};

  bool operator==(const JobRun&) const = default;
};

// What is known of a run that began and never ended: it failed.
[[nodiscard]] JobRun lost_run(Moment began);

// Threads and processes: any number; but for one that was refused, whoever
// writes of a run holds the job's lock (cli/job_lock.h).
class RunLog {
 public:
  static constexpr std::size_t kKept = 400;
  static constexpr std::size_t kMaxMessage = 1000;  // bytes; more is cut off

  // `state` is where this program keeps its state. Creates nothing.
  RunLog(const std::filesystem::path& state, const std::string& repository,
         const std::string& series);

  // The series of parts of it, SERIES/NAME, that have a log there. Logs that
  // cannot be read are left out.
  [[nodiscard]] static std::vector<std::string> parts_of(
      const std::filesystem::path& state, const std::string& repository,
      const std::string& series);

  // That a run begins now, before it does anything: append() of a run with the
  // same `began` ends it. Durable when it returns. Throws repo::IoError.
  void begin(Moment began);

  // Durable when it returns. Throws repo::IoError.
  void append(const JobRun& run);

  // Those that ended, the newest last; one that another one began after, though
  // it had not ended, is a lost_run(). Lines that make no sense are left out,
  // and counted. Throws repo::IoError when there is a file that cannot be read.
  [[nodiscard]] std::vector<JobRun> read() const;

  // Of the last read():
  [[nodiscard]] std::size_t damaged_lines() const noexcept { return damaged_; }
  // When the run began that is at work, or was killed: whoever holds the job's
  // lock knows that it was killed.
  [[nodiscard]] std::optional<Moment> unfinished() const noexcept {
    return unfinished_;
  }

 private:
  void write(const std::string& line);

  std::filesystem::path file_;
  std::string series_;  // stands in each line, for who finds only the file
  mutable std::size_t damaged_ = 0;
  mutable std::optional<Moment> unfinished_;
};

}  // namespace cairn::service
