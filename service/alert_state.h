// Who is to be told what: of the first failing run, not of each, and of the
// first good one after it. What could not be told stays until it is.
//
//   the log of runs --note_runs()--> events --pending()--> whoever delivers
//                                       <--delivered()--
//
// Events are durable before anybody is told, and the log is what they are made
// of: a crash in between tells late, or twice (an event has an id), and never
// not at all. In one file for each series, STATE/alerts/<name>.json; where it
// is damaged it is begun anew. Where it cannot be read or written, which is
// thrown, all is known here nevertheless, and is to be told: twice is better
// than never.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "service/run_log.h"

namespace cairn::service {

struct AlertEvent {
  enum class Kind { failure, recovery };

  std::string id;  // the same however often it is told
  Kind kind = Kind::failure;
  std::string body;                   // what to tell, as its maker wrote it
  std::vector<std::string> channels;  // that do not know it yet

  bool operator==(const AlertEvent&) const = default;
};

[[nodiscard]] std::string_view name_of(AlertEvent::Kind kind) noexcept;

// Threads and processes: whoever changes it holds the job's lock, but for a run
// that was refused: should the one in its way end just then, something is told
// twice.
class AlertState {
 public:
  // Older ones are given up.
  static constexpr std::size_t kMostPending = 50;

  // Of nobody who was told anything.
  AlertState(const std::filesystem::path& state, const std::string& repository,
             const std::string& series);

  // What is there. Throws repo::IoError when that cannot be read.
  void read();

  using MakeBody = std::function<std::string(
      AlertEvent::Kind kind, const std::string& id, const JobRun& run)>;

  // `runs` is the log, whose last run has just ended; `channels` are those that
  // are configured now: others are told no more. A run that was interrupted
  // changes nothing. Durable when it returns. Throws repo::IoError; what is
  // pending() is so nevertheless.
  void note_runs(std::span<const JobRun> runs,
                 const std::vector<std::string>& channels,
                 const MakeBody& make_body);

  // The oldest first.
  [[nodiscard]] const std::vector<AlertEvent>& pending() const noexcept {
    return pending_;
  }

  // Likewise.
  void delivered(const std::string& id, const std::string& channel);

  // Since when runs have failed.
  [[nodiscard]] std::optional<Moment> failing_since() const noexcept {
    return failing_since_;
  }

 private:
  [[nodiscard]] std::vector<JobRun> unseen(std::span<const JobRun> runs) const;
  void note(const JobRun& run, const std::vector<std::string>& channels,
            const MakeBody& make_body);
  [[nodiscard]] bool parse(const std::string& text);
  void store() const;

  std::filesystem::path file_;
  std::optional<Moment> failing_since_;
  std::optional<Moment> seen_;       // when the last run began that was noted
  std::ptrdiff_t seen_with_it_ = 0;  // runs that had begun at that second
  std::vector<AlertEvent> pending_;
};

}  // namespace cairn::service
