// What is known of attempts at saving the sources of a job: from the snapshots
// that they left, and from this machine's log of runs.
//
//   snapshots --+
//   log --------+--attempts_in()--> Attempt --judge()--> one source of it
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config/configuration.h"
#include "repo/keyring.h"
#include "repo/repository.h"
#include "service/health.h"
#include "service/run_log.h"

namespace cairn::cli {

// True for what the snapshot calls the streams, or the tree, of a source.
[[nodiscard]] bool is_of(const config::Source& source,
                         std::string_view reported);

// The database that a stream of it is the dump of; nothing: it is of none.
[[nodiscard]] std::optional<std::string> database_of(
    const config::Source& source, std::string_view reported);

// A stream of a source, as a snapshot or a line of the log has it.
struct Reported {
  std::string name;
  service::RunOutcome outcome = service::RunOutcome::complete;
  std::uint64_t bytes = 0;
  std::string message;
};

// One attempt at saving the sources of a job.
struct Attempt {
  service::Moment when;
  service::Moment claimed;  // what it is said to be of
  std::string snapshot;     // hex id
  std::vector<Reported> reported;
};

// Of the job's series and of those of parts of it, newest first, and none later
// than it arrived: anybody may claim any time. Nothing: this key may not read
// what snapshots say of themselves.
[[nodiscard]] std::optional<std::vector<Attempt>> attempts_in(
    const std::vector<repo::ValidSnapshot>& snapshots, const config::Job& job,
    const repo::Keyring& keyring);

// Those that left a snapshot, newest first.
[[nodiscard]] std::vector<Attempt> attempts_in(
    const std::vector<service::JobRun>& runs);

// All that is known, newest first: of what was forgotten the log alone knows,
// and of what another machine saved the snapshots alone.
[[nodiscard]] std::vector<Attempt> together(std::vector<Attempt> snapshots,
                                            std::vector<Attempt> log);

// Of parts of it, SERIES/NAME, that have a log, unless another job has it.
[[nodiscard]] std::vector<std::string> series_of_parts(
    const config::Job& job, const std::string& place,
    const config::Configuration& all);

// What became of one source.
struct Judged {
  bool is_there = false;
  bool is_good = true;
  std::uint64_t bytes = 0;
  std::string message;  // why it is not good
};

[[nodiscard]] Judged judge(const Attempt& attempt,
                           const config::Source& source);

// In which it was saved whole, in the order of the attempts; none of what lies
// in the future.
[[nodiscard]] std::vector<service::GoodState> good_states(
    const std::vector<Attempt>& attempts, const config::Source& source,
    service::Moment now);

}  // namespace cairn::cli
