// Who is to be told what: of the first failing run, not of each, and of the
// first good one after it. What could not be told stays until it is.
//
//   the log of runs --note_run()--> events --pending()--> whoever has the turn
//                                      <--delivered()--
//
// Events are durable before anybody is told, and the log is what they are made
// of: a crash in between tells late, or twice (an event has an id), and never
// not at all. In one file for each series, STATE/alerts/<name>.json; where it
// is damaged it is begun anew. Where it cannot be read or written, which is
// thrown, all is known here nevertheless, and is to be told: twice is better
// than never.
//
// One process tells at a time. Who does not get the turn leaves what is pending
// to the one that has it, which looks again once it has given the turn back.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ingest/unique_fd.h"
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

// Threads and processes: one thread; any number of processes, which see what
// the others noted and told whenever they change something themselves.
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

  // All runs that ended; called while no other process notes any.
  using ReadLog = std::function<std::vector<JobRun>()>;

  // `ended` has just done so, and is in the log, unless that could not be
  // written or read. `channels` are those that are configured now: others are
  // told no more. A run that was interrupted changes nothing. Durable when it
  // returns. Throws repo::IoError; what is pending() is so nevertheless.
  void note_run(const JobRun& ended, const ReadLog& read_log,
                const std::vector<std::string>& channels,
                const MakeBody& make_body);

  // The oldest first.
  [[nodiscard]] const std::vector<AlertEvent>& pending() const noexcept {
    return memory_.pending;
  }

  // The right to tell what is pending, which is read again; given back when the
  // answer is destroyed, and by a process that ends. Nothing: another process
  // has it. Throws repo::IoError.
  [[nodiscard]] std::optional<ingest::UniqueFd> take_turn();

  // Reads again what is pending, for whoever has given the turn back. Throws
  // repo::IoError.
  void look_again();

  // Durable when it returns. Throws repo::IoError.
  void delivered(const std::string& id, const std::string& channel);

  // Since when runs have failed.
  [[nodiscard]] std::optional<Moment> failing_since() const noexcept {
    return memory_.failing_since;
  }

 private:
  struct Memory {
    std::optional<Moment> failing_since;
    std::optional<Moment> seen;       // when the last run began that was noted
    std::ptrdiff_t seen_with_it = 0;  // runs that had begun at that second
    std::string seen_mark = {};       // of it, where the log was begun anew
    std::vector<AlertEvent> pending;
  };

  [[nodiscard]] static std::optional<Memory> parse(const std::string& text);
  [[nodiscard]] Memory stored() const;
  [[nodiscard]] std::vector<JobRun> unseen(
      std::span<const JobRun> log,
      std::span<const JobRun>::iterator ended) const;
  void note_all(const JobRun& ended, std::span<const JobRun> log,
                const std::vector<std::string>& channels,
                const MakeBody& make_body);
  void note(const JobRun& run, const std::vector<std::string>& channels,
            const MakeBody& make_body);
  void store();

  std::filesystem::path file_;
  Memory memory_;
  // False: it is more than what is stored, and is not to be read over.
  bool is_stored_ = true;
};

}  // namespace cairn::service
