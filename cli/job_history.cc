#include "cli/job_history.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <utility>
#include <variant>

#include "cli/context.h"
#include "cli/series.h"
#include "cli/time_text.h"
#include "ingest/pg_dump.h"

namespace cairn::cli {

using service::JobRun;
using service::RunOutcome;

bool is_of(const config::Source& source, std::string_view reported) {
  if (const auto* const command =
          std::get_if<config::CommandOutput>(&source.what)) {
    return reported == command->as;
  }
  if (std::holds_alternative<config::PostgresDumps>(source.what) ||
      std::holds_alternative<config::Redis>(source.what)) {
    return reported == source.name || reported.starts_with(source.name + "/");
  }
  return reported == source.name;
}

std::optional<std::string> database_of(const config::Source& source,
                                       std::string_view reported) {
  if (!std::holds_alternative<config::PostgresDumps>(source.what) ||
      !reported.starts_with(source.name + "/")) {
    return std::nullopt;
  }
  return ingest::pg_database_of(reported.substr(source.name.size() + 1));
}

std::optional<std::vector<Attempt>> attempts_in(
    const std::vector<repo::ValidSnapshot>& snapshots, const config::Job& job,
    const repo::Keyring& keyring) {
  const auto tag = repo::series_tag(keyring, job.series);
  std::vector<Attempt> attempts;
  for (auto valid = snapshots.rbegin(); valid != snapshots.rend(); ++valid) {
    const auto& snapshot = valid->snapshot;
    if (!snapshot.record) {
      if (snapshot.header.series_tag == tag) return std::nullopt;
      continue;
    }
    const auto& series = snapshot.record->series;
    if (is_of_wal(snapshot) ||
        (series != job.series && !series.starts_with(job.series + "/"))) {
      continue;
    }
    const auto claimed = moment_of(snapshot.header.time);
    Attempt attempt{std::min(claimed, moment_of(snapshot.header.arrival)),
                    claimed,
                    snapshot.id.hex(),
                    {}};
    for (const auto& source : snapshot.record->sources) {
      attempt.reported.push_back({source.name,
                                  service::outcome_of(source.status),
                                  source.bytes, source.message});
    }
    attempts.push_back(std::move(attempt));
  }
  std::ranges::stable_sort(attempts, std::greater(), &Attempt::when);
  return attempts;
}

std::vector<Attempt> attempts_in(const std::vector<JobRun>& runs) {
  std::vector<Attempt> attempts;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    if (!run->snapshot) continue;
    Attempt attempt{run->began, run->began, *run->snapshot, {}};
    for (const auto& source : run->sources) {
      attempt.reported.push_back(
          {source.name, source.outcome, source.bytes, source.message});
    }
    attempts.push_back(std::move(attempt));
  }
  return attempts;
}

std::vector<Attempt> together(std::vector<Attempt> snapshots,
                              std::vector<Attempt> log) {
  std::set<std::string> there;
  for (const auto& attempt : snapshots) there.insert(attempt.snapshot);
  std::erase_if(log, [&](const Attempt& attempt) {
    return there.contains(attempt.snapshot);
  });
  std::ranges::move(log, std::back_inserter(snapshots));
  std::ranges::stable_sort(snapshots, std::greater(), &Attempt::when);
  return snapshots;
}

std::vector<std::string> series_of_parts(const config::Job& job,
                                         const std::string& place,
                                         const config::Configuration& all) {
  auto parts =
      service::RunLog::parts_of(host_folders().state, place, job.series);
  std::erase_if(parts, [&](const std::string& series) {
    return std::ranges::find(all.jobs, series, &config::Job::series) !=
           all.jobs.end();
  });
  return parts;
}

Judged judge(const Attempt& attempt, const config::Source& source) {
  Judged judged;
  for (const auto& one : attempt.reported) {
    if (!is_of(source, one.name)) continue;
    judged.is_there = true;
    judged.bytes += one.bytes;
    if (one.outcome == RunOutcome::complete) continue;
    if (judged.is_good) {
      judged.message =
          one.name == source.name ? one.message : one.name + ": " + one.message;
    }
    judged.is_good = false;
  }
  return judged;
}

std::vector<service::GoodState> good_states(
    const std::vector<Attempt>& attempts, const config::Source& source,
    service::Moment now) {
  std::vector<service::GoodState> good;
  for (const auto& attempt : attempts) {
    if (attempt.when > now) continue;
    const auto judged = judge(attempt, source);
    if (judged.is_there && judged.is_good) {
      good.push_back({attempt.when, judged.bytes});
    }
  }
  return good;
}

}  // namespace cairn::cli
