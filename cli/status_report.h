// How safe is what the configuration says to save: what the repository's
// snapshots tell, and beside them this machine's log of runs, which alone knows
// of what failed.
//
//   configuration --+
//   snapshots ------+--> StatusReport --> words, JSON, metrics
//   log, spools ----+
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "repo/repository.h"
#include "service/health.h"
#include "service/run_log.h"
#include "service/verification_plan.h"

namespace cairn::cli {

using service::Moment;

// One stream of a source, such as the dump of a database.
struct DatabaseStatus {
  std::string name;
  std::optional<service::GoodState> last;
  std::optional<double> seconds;  // that its last good run took; not measured
};

struct SourceStatus {
  std::string job;
  std::string source;
  std::vector<service::GoodState> good;  // newest first
  std::optional<std::chrono::seconds> interval;
  bool has_schedule = false;
  bool is_overdue = false;
  std::optional<std::uint64_t> usual_bytes;
  // Of a run after the last good state. Nothing: none failed.
  std::optional<std::string> failure;
  // Since when what is committed would be lost, now.
  std::optional<Moment> lost_since;
  // A time in the future that a snapshot claims to be of. It is judged by when
  // it arrived; by nothing, if that is in the future, too.
  std::optional<Moment> claimed;
  std::optional<Moment> verified;  // what the last good run wrote
  std::optional<double> seconds;   // as above
  std::vector<DatabaseStatus> databases;

  [[nodiscard]] std::optional<service::GoodState> last() const {
    return good.empty() ? std::nullopt : std::optional(good.front());
  }
  [[nodiscard]] bool is_safe() const {
    return !good.empty() && !is_overdue && !failure;
  }
};

struct WalStatus {
  std::string repository;  // name
  std::string series;
  std::uint64_t system = 0;  // of the cluster
  std::optional<Moment> stored_at;
  std::uint64_t waiting_bytes = 0;          // in the spool of this host
  bool has_receiver = false;                // at work on this host
  std::optional<std::chrono::seconds> lag;  // at most; nothing: none was stored
  bool is_late = false;
};

struct JobStatus {
  std::string job;
  std::optional<service::JobRun> last_run;
  std::optional<Moment> last_success;
  std::optional<Moment> unfinished =
      {};                         // a run that is at work, or was killed
  std::size_t damaged_lines = 0;  // of its log
};

struct RepositoryStatus {
  std::string name;
  std::string place;
  std::optional<std::string> unreachable;  // or not to be opened; why
  std::optional<double> used;              // of its disk
  std::uint64_t free_bytes = 0;
  std::uint64_t snapshots = 0;
  std::optional<service::Coverage> coverage;
  std::optional<Moment> damage_found;
};

struct StatusReport {
  Moment now;
  std::vector<SourceStatus> sources;
  std::vector<WalStatus> wal;
  std::vector<JobStatus> jobs;
  std::vector<RepositoryStatus> repositories;
  std::vector<std::string> problems;  // beside what sources and WAL have
  std::vector<std::string> notices;   // worth knowing, and no danger

  [[nodiscard]] bool is_safe() const;
  // "everything is safe"; "2 of 5 sources are not: redis was last saved 27
  // hours ago, due every hour"
  [[nodiscard]] std::string sentence() const;
  // All that is wrong, a line each.
  [[nodiscard]] std::vector<std::string> what_is_wrong() const;
};

// A repository of the configuration, and how it was met. `opened` is null where
// it was not: then the log alone speaks.
struct MetRepository {
  const config::Repository* configured = nullptr;
  std::string place;  // as Context::repo_name() has it
  repo::Repository* opened = nullptr;
  std::optional<std::string> unreachable = {};
  std::string_view cannot = "be reached";  // what keeps it from being met
};

// Adds what concerns that repository, and those of `jobs` that save to it.
void report_on(const MetRepository& met, const config::Configuration& all,
               std::span<const config::Job* const> jobs, Context& context,
               StatusReport& report);

// What `cairn run` writes without opening what it has not open: all jobs of the
// configuration.
[[nodiscard]] StatusReport report_after_run(const MetRepository& met,
                                            const config::Configuration& all,
                                            Context& context);

// "every hour", "every 90 minutes", "every day"
[[nodiscard]] std::string interval_text(std::chrono::seconds interval);

}  // namespace cairn::cli
