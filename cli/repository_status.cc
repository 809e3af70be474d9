#include "cli/repository_status.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "cli/pg_wal.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/time_text.h"
#include "cli/wal_loss.h"
#include "ingest/recovery_range.h"
#include "repo/error.h"
#include "repo/pack_reader.h"
#include "service/verification.h"
#include "service/verified_packs.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

// The series of this host that hold WAL, with the ones of their bases.
std::set<std::string> base_series_in(
    const std::vector<repo::ValidSnapshot>& snapshots,
    const std::string& host) {
  constexpr std::string_view kWal = "/wal";
  std::set<std::string> series;
  for (const auto& valid : snapshots) {
    if (!is_of_wal(valid.snapshot)) continue;
    const auto& name = valid.snapshot.record->series;
    if (name.starts_with(host + "/")) {
      series.insert(name.substr(0, name.size() - kWal.size()));
    }
  }
  return series;
}

WalStatus status_of(const ingest::RecoveryCluster& cluster,
                    const std::string& wal_series, const fs::path& spools,
                    const service::Limits& limits, Moment now) {
  const auto loss = wal_loss_of(cluster, spools);
  WalStatus status{.repository = {},
                   .series = wal_series,
                   .system = cluster.system,
                   .stored_at = std::nullopt,
                   .waiting_bytes = loss.spooled_bytes,
                   .has_receiver = loss.has_receiver,
                   .lag = std::nullopt};
  if (loss.stored_at) {
    status.stored_at = std::min(moment_of(*loss.stored_at), now);
    // A server that is quiet makes no WAL, and a receiver that has stored all
    // is not behind.
    const bool is_caught_up = loss.has_receiver && loss.spooled_bytes == 0;
    status.lag = is_caught_up ? std::chrono::seconds(0)
                              : service::age_of(*status.stored_at, now).length;
    status.is_late = *status.lag > limits.wal_lag;
  }
  return status;
}

// Damage that a prune has removed since the last run is none.
void drop_pruned(const std::vector<repo::StoredPack>& stored,
                 repo::Repository& repository, service::VerifiedPacks& known) {
  std::set<repo::PackId> there;
  for (const auto& pack : stored) there.insert(pack.id);
  const auto is_there = [&](const auto& one) {
    return there.contains(one.first);
  };
  if (std::ranges::all_of(known.damaged, is_there)) return;
  const auto missing = service::missing_packs(repository);
  std::erase_if(known.damaged, [&](const auto& one) {
    return !is_there(one) && !missing.contains(one.first);
  });
}

}  // namespace

void look_at_disk(const std::string& place, const service::Limits& limits,
                  RepositoryStatus& status, StatusReport& report) {
  std::error_code error;
  const auto space = fs::space(place, error);
  if (error || space.capacity == 0) return;
  const auto taken = space.capacity - space.free;
  const auto all = taken + space.available;
  status.free_bytes = space.available;
  status.used =
      all == 0 ? 1 : static_cast<double>(taken) / static_cast<double>(all);
  if (*status.used > limits.repository_used) {
    report.problems.push_back("the disk of repository " + status.name + " is " +
                              percent_text(*status.used) + " full, " +
                              size_text(status.free_bytes) + " are free");
  }
}

void look_at_packs(repo::Repository& repository,
                   const config::DataChecks& checks, RepositoryStatus& status,
                   StatusReport& report) {
  const service::VerifiedPacksFile file(host_folders().state,
                                        repository.keyring().repository().hex(),
                                        repository.storage().place());
  service::VerifiedPacks known;
  try {
    known = file.read();
  } catch (const repo::Error& e) {
    report.problems.push_back("what was verified of repository " + status.name +
                              " cannot be read: " + e.what());
  }
  const auto stored = repo::list_packs(repository.storage());
  drop_pruned(stored, repository, known);
  status.coverage =
      service::coverage_of(stored, known, checks.cycle, report.now);
  for (const auto& [id, found] : known.damaged) {
    status.damage_found = std::min(found, status.damage_found.value_or(found));
  }
  if (status.damage_found) {
    report.problems.push_back(
        "damage in repository " + status.name + ": " +
        counted(status.coverage->damaged, "pack") + " cannot be read whole, " +
        "found " +
        relative_time_text(timestamp_of(*status.damage_found),
                           timestamp_of(report.now)) +
        "; 'cairn check --level data' says what it hurts");
  }
  if (status.coverage->late > 0) {
    report.notices.push_back(
        "repository " + status.name + ": " +
        counted(status.coverage->late, "pack") +
        " were not read within the cycle; a larger `checks: {data: {budget: "
        "..}}`, or more runs, would");
  }
}

void add_wal(const std::string& repository, const repo::SnapshotList& list,
             const repo::Keyring& keyring, const config::Configuration& all,
             const service::Limits& limits, StatusReport& report) {
  for (const auto& series : base_series_in(list.snapshots, all.host)) {
    const std::string wal = wal_series(series);
    const auto clusters =
        ingest::find_clusters(list.snapshots, repo::series_tag(keyring, series),
                              repo::series_tag(keyring, wal));
    std::optional<Moment> stored;
    for (const auto& cluster : clusters) {
      if (cluster.wal.empty()) continue;
      report.wal.push_back(status_of(cluster, wal,
                                     wal_spools(wal, keyring.repository()),
                                     limits, report.now));
      report.wal.back().repository = repository;
      stored = std::max(stored, report.wal.back().stored_at);
    }
    // A base with its WAL loses what came since WAL was stored.
    for (auto& source : report.sources) {
      const auto* const job = all.job(source.job);
      if (job == nullptr || job->series != series) continue;
      if (stored && source.lost_since) {
        source.lost_since = std::max(*source.lost_since, *stored);
      }
    }
  }
}

}  // namespace cairn::cli
