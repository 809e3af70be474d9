#include "cli/status_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <variant>

#include "cli/job_history.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/repository_status.h"
#include "cli/time_text.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

using service::GoodState;
using service::JobRun;
using service::RunOutcome;

constexpr std::chrono::seconds kAMinute{60};
constexpr std::chrono::seconds kAnHour{3'600};
constexpr std::chrono::seconds kADay{86'400};
constexpr std::size_t kMostStates = 40;  // that make something usual

service::Limits limits_of(const config::Thresholds& thresholds) {
  return {.overdue = thresholds.overdue,
          .size_change = thresholds.size_change,
          .repository_used = thresholds.repository_used,
          .wal_lag = thresholds.wal_lag};
}

std::string ago(Moment moment, Moment now) {
  return relative_time_text(timestamp_of(moment), timestamp_of(now));
}

// Those that the newest good attempt has, and later ones: what was dropped
// since is missed by nobody.
void add_databases(const std::vector<Attempt>& attempts,
                   const config::Source& source, SourceStatus& status) {
  std::map<std::string, DatabaseStatus> all;
  bool is_all = false;
  for (const auto& attempt : attempts) {
    const auto judged = judge(attempt, source);
    for (const auto& one : attempt.reported) {
      const auto name = database_of(source, one.name);
      if (!name || (is_all && !all.contains(*name))) continue;
      auto& database = all[*name];
      database.name = *name;
      if (!database.last && one.outcome == RunOutcome::complete) {
        database.last = GoodState{attempt.when, one.bytes};
      }
    }
    is_all = is_all || (judged.is_there && judged.is_good);
  }
  for (auto& [name, database] : all) {
    status.databases.push_back(std::move(database));
  }
}

// Times, which only the log has, of the newest run that has any.
void add_seconds(const std::vector<JobRun>& runs, const config::Source& source,
                 SourceStatus& status) {
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    for (const auto& one : run->sources) {
      if (!is_of(source, one.name) || one.outcome != RunOutcome::complete ||
          !one.seconds) {
        continue;
      }
      const auto name = database_of(source, one.name);
      if (one.name == source.name ||
          std::holds_alternative<config::CommandOutput>(source.what)) {
        if (!status.seconds) status.seconds = one.seconds;
        continue;
      }
      for (auto& database : status.databases) {
        if (name == database.name && !database.seconds) {
          database.seconds = one.seconds;
        }
      }
    }
  }
}

// Whoever interrupts a run knows why, and one that was refused is no news once
// the one in its way has ended: what was before them is what is to be told.
const JobRun* last_judged(const std::vector<JobRun>& runs) {
  bool has_ended_since = false;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    if (run->outcome == RunOutcome::interrupted) {
      has_ended_since = true;
    } else if (!run->was_refused || !has_ended_since) {
      return &*run;
    }
  }
  return nullptr;
}

// Why the newest run that had to do with the source, after it was last saved
// whole, did not save it. The log knows of runs that left no snapshot.
void add_failure_of_log(const std::vector<JobRun>& runs,
                        const config::Source& source, SourceStatus& status) {
  const auto* const last = last_judged(runs);
  if (last == nullptr || last->outcome == RunOutcome::complete) return;
  const auto& run = *last;
  if (status.last() && status.last()->when > run.ended) return;
  const auto mine =
      std::ranges::find_if(run.sources, [&](const service::SourceRun& one) {
        return is_of(source, one.name) && one.outcome != RunOutcome::complete;
      });
  if (mine != run.sources.end()) {
    status.failure = mine->message.empty() ? run.message : mine->message;
  } else if (run.sources.empty() && !run.snapshot) {
    status.failure = run.message;  // it did not come so far
  }
}

void set_rhythm(const config::Job& job, const service::Limits& limits,
                Moment now, SourceStatus& status) {
  service::Rhythm rhythm;
  if (job.schedule) {
    const auto& [timetable, jitter, catches_up] = *job.schedule;
    status.has_schedule = true;
    status.interval = timetable.longest_wait(now);
    rhythm.last_due = timetable.last_until(now - limits.overdue - jitter);
  } else {
    status.interval = service::usual_interval(status.good);
  }
  if (status.interval) rhythm.interval = *status.interval;
  const auto last =
      status.last() ? std::optional(status.last()->when) : std::nullopt;
  status.is_overdue = service::is_overdue(last, rhythm, limits, now);
}

// `known` are also those that were forgotten since: what is usual is not lost
// with them.
SourceStatus status_of(const config::Source& source, const config::Job& job,
                       std::vector<Attempt> attempts,
                       const std::vector<Attempt>& known,
                       const std::vector<JobRun>& runs,
                       const service::Limits& limits, Moment now) {
  SourceStatus status;
  status.job = job.name;
  status.source = source.name;
  for (const auto& attempt : attempts) {
    if (attempt.claimed > now && judge(attempt, source).is_there) {
      status.claimed = std::max(attempt.claimed, status.claimed.value_or(now));
    }
  }
  std::erase_if(attempts,
                [&](const Attempt& attempt) { return attempt.when > now; });
  for (const auto& attempt : attempts) {
    const auto judged = judge(attempt, source);
    if (!judged.is_there) continue;
    if (judged.is_good) {
      status.good.push_back({attempt.when, judged.bytes});
    } else if (status.good.empty() && !status.failure) {
      status.failure = judged.message;
    }
    if (status.good.size() == kMostStates) break;
  }
  add_failure_of_log(runs, source, status);
  add_databases(attempts, source, status);
  add_seconds(runs, source, status);
  set_rhythm(job, limits, now, status);
  if (const auto last = status.last()) {
    auto states = good_states(known, source, now);
    std::erase_if(states, [&](const GoodState& state) {
      return state.when > last->when;
    });
    status.usual_bytes = service::usual_bytes(states);
    status.lost_since = last->when;
    for (const auto& run : runs) {
      const bool is_its_run =
          run.began <= last->when && last->when <= run.ended;
      if (is_its_run && run.verified.value_or(false)) {
        status.verified = run.ended;
      }
    }
  }
  return status;
}

// Of the log as it was read last.
JobStatus status_of(const config::Job& job, const std::vector<JobRun>& runs,
                    const service::RunLog& log, Moment now) {
  JobStatus status{.job = job.name,
                   .last_run = std::nullopt,
                   .last_success = std::nullopt,
                   .unfinished = log.unfinished(),
                   .damaged_lines = log.damaged_lines()};
  if (!runs.empty()) status.last_run = runs.back();
  for (const auto& run : runs) {
    if (run.outcome == RunOutcome::complete && run.ended <= now) {
      status.last_success = run.ended;
    }
  }
  return status;
}

// A log that cannot be read hides what failed: that is a problem, and no reason
// to tell nothing.
std::vector<JobRun> read_log(const service::RunLog& log,
                             const std::string& name, StatusReport& report) {
  try {
    return log.read();
  } catch (const repo::Error& e) {
    report.problems.push_back("the log of the runs of " + name +
                              " cannot be read: " + e.what());
    return {};
  }
}

void tell_of_failed_run(const std::string& name, const JobRun& run,
                        StatusReport& report) {
  report.problems.push_back(
      "the last run of " + name + " failed" +
      (run.message.empty() ? "" : ": " + printable(run.message)));
}

// Of what its sources do not tell: they may all be saved, and what came after
// failed. A run in part is theirs to tell.
void tell_of_job(const config::Job& job, const std::vector<JobRun>& runs,
                 StatusReport& report) {
  const auto& status = report.jobs.back();
  const auto* const last = last_judged(runs);
  const bool is_told =
      std::ranges::any_of(report.sources, [&](const SourceStatus& source) {
        return source.job == job.name && source.failure;
      });
  if (last != nullptr && last->outcome == RunOutcome::failed &&
      (last->snapshot || !is_told)) {
    tell_of_failed_run(job.name, *last, report);
  }
  if (status.unfinished && *status.unfinished + kADay < report.now) {
    report.notices.push_back("a run of " + job.name + " began " +
                             ago(*status.unfinished, report.now) +
                             ", and has not ended: it hangs, or was killed");
  }
}

// A failure of a part lasts until it, or the whole job, was run well.
void tell_of_parts(const config::Job& job, const std::string& place,
                   const config::Configuration& all, StatusReport& report) {
  const auto last_success = report.jobs.back().last_success;
  for (const auto& series : series_of_parts(job, place, all)) {
    const std::string name = job.name + series.substr(job.series.size());
    const service::RunLog log(host_folders().state, place, series);
    const auto runs = read_log(log, name, report);
    const auto* const last = last_judged(runs);
    if (last == nullptr || last->outcome != RunOutcome::failed) continue;
    if (last_success && *last_success > last->ended) continue;
    tell_of_failed_run(name, *last, report);
  }
}

void tell_of_clock(const SourceStatus& status, StatusReport& report) {
  if (!status.claimed) return;
  report.notices.push_back(
      status.source + " claims to be saved in the future, " +
      local_time_text(timestamp_of(*status.claimed)) +
      ": the clock of this machine, or the one it was saved by, is wrong");
}

void tell_of_size(const SourceStatus& status, const service::Limits& limits,
                  StatusReport& report) {
  if (!status.usual_bytes || !status.last()) return;
  const auto bytes = status.last()->bytes;
  const double change = service::change_of(bytes, *status.usual_bytes);
  if (std::abs(change) <= limits.size_change) return;
  report.notices.push_back(status.source + " has " + size_text(bytes) + ", " +
                           percent_text(std::abs(change)) +
                           (change < 0 ? " less" : " more") + " than usual (" +
                           size_text(*status.usual_bytes) + ")");
}

std::string reason_of(const SourceStatus& source, Moment now) {
  const auto last = source.last();
  std::string text = source.source;
  if (!last) {
    text += " was never saved whole";
  } else {
    text += " was last saved " + ago(last->when, now);
    if (source.is_overdue && source.interval) {
      text += ", due " + interval_text(*source.interval);
    }
  }
  if (source.failure) {
    text += (last && !source.is_overdue ? ", and then failed" : ", failing");
    if (!source.failure->empty()) text += ": " + printable(*source.failure);
  }
  return text;
}

std::string reason_of(const WalStatus& wal, Moment now) {
  return "WAL of " + printable(wal.series) + " was last stored " +
         (wal.stored_at ? ago(*wal.stored_at, now) : "never") +
         (wal.waiting_bytes > 0
              ? ", and " + size_text(wal.waiting_bytes) + " wait on this host"
          : wal.has_receiver ? ""
                             : ", and no receiver is at work on this host");
}

}  // namespace

std::string interval_text(std::chrono::seconds interval) {
  const auto every = [](std::int64_t count, std::string_view name) {
    return count <= 1
               ? "every " + std::string(name)
               : "every " + counted(static_cast<std::uint64_t>(count), name);
  };
  // Runs do not begin to the second.
  const auto is_nearly_whole = [&](std::chrono::seconds unit) {
    const auto slack = unit / 20;
    return interval >= unit - slack && (interval + slack) % unit <= 2 * slack;
  };
  const auto rounded = [&](std::chrono::seconds unit) {
    return (interval + unit / 2) / unit;
  };
  if (is_nearly_whole(kADay) || interval >= 2 * kADay) {
    return every(rounded(kADay), "day");
  }
  if (is_nearly_whole(kAnHour) || interval >= 3 * kAnHour) {
    return every(rounded(kAnHour), "hour");
  }
  return every(rounded(kAMinute), "minute");
}

bool StatusReport::is_safe() const { return what_is_wrong().empty(); }

std::vector<std::string> StatusReport::what_is_wrong() const {
  std::vector<std::string> wrong;
  for (const auto& source : sources) {
    if (!source.is_safe()) wrong.push_back(reason_of(source, now));
  }
  for (const auto& one : wal) {
    if (one.is_late) wrong.push_back(reason_of(one, now));
  }
  wrong.insert(wrong.end(), problems.begin(), problems.end());
  return wrong;
}

std::string StatusReport::sentence() const {
  const auto wrong = what_is_wrong();
  if (wrong.empty()) return "everything is safe";
  const auto unsafe = static_cast<std::uint64_t>(std::ranges::count_if(
      sources, [](const SourceStatus& one) { return !one.is_safe(); }));
  if (unsafe == 0) {
    return "all sources were saved, but " + wrong.front();
  }
  return std::to_string(unsafe) + " of " + counted(sources.size(), "source") +
         (unsafe == 1 ? " is not safe: " : " are not safe: ") + wrong.front();
}

void report_on(const MetRepository& met, const config::Configuration& all,
               std::span<const config::Job* const> jobs, Context& context,
               StatusReport& report) {
  const auto limits = limits_of(all.thresholds);
  RepositoryStatus status;
  status.name = met.configured->name;
  status.place = met.place;
  status.unreachable = met.unreachable;
  repo::SnapshotList list;
  if (met.opened != nullptr) {
    list = met.opened->snapshots(context.now());
    status.snapshots = list.snapshots.size();
    for (const auto& damage : list.damage) report.problems.push_back(damage);
    look_at_packs(*met.opened, all.data_checks, status, report);
  }
  if (!met.unreachable) look_at_disk(met.place, limits, status, report);
  if (met.unreachable) {
    report.problems.push_back("repository " + status.name + " cannot " +
                              std::string(met.cannot) + ": " +
                              *met.unreachable);
  }
  for (const auto* const job : jobs) {
    const service::RunLog log(host_folders().state, met.place, job->series);
    const auto runs = read_log(log, job->name, report);
    report.jobs.push_back(status_of(*job, runs, log, report.now));
    if (log.damaged_lines() > 0) {
      report.notices.push_back("the log of the runs of " + job->name + " has " +
                               counted(log.damaged_lines(), "damaged line") +
                               ", which were passed over");
    }
    std::optional<std::vector<Attempt>> attempts;
    if (met.opened != nullptr) {
      attempts = attempts_in(list.snapshots, *job, met.opened->keyring());
    }
    const auto in_log = attempts_in(runs);
    if (!attempts) attempts = in_log;
    const auto known = together(*attempts, in_log);
    for (const auto& name : job->sources) {
      auto source = status_of(*all.source(name), *job, *attempts, known, runs,
                              limits, report.now);
      tell_of_clock(source, report);
      tell_of_size(source, limits, report);
      report.sources.push_back(std::move(source));
    }
    tell_of_job(*job, runs, report);
    tell_of_parts(*job, met.place, all, report);
  }
  if (met.opened != nullptr) {
    add_wal(status.name, list, met.opened->keyring(), all, limits, report);
  }
  report.repositories.push_back(std::move(status));
}

StatusReport report_after_run(const MetRepository& met,
                              const config::Configuration& all,
                              Context& context) {
  StatusReport report;
  report.now = moment_of(context.now());
  const bool is_everywhere = context.repo_given().has_value();
  for (const auto& repository : all.repositories) {
    std::vector<const config::Job*> jobs;
    for (const auto& job : all.jobs) {
      if (job.repository == repository.name) jobs.push_back(&job);
    }
    if (jobs.empty()) continue;
    MetRepository other{.configured = &repository,
                        .place = is_everywhere ? met.place : repository.path};
    const bool is_same = met.configured == &repository;
    report_on(is_same ? met : other, all, jobs, context, report);
  }
  return report;
}

}  // namespace cairn::cli
