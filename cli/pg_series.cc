#include "cli/pg_series.h"

#include "cli/series.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::string_view kSeries = "pg";
constexpr std::string_view kWal = "/wal";

}  // namespace

std::string pg_series(const std::optional<std::string>& given) {
  std::string series = whole_series(given.value_or(std::string(kSeries)));
  if (series.ends_with(kWal)) series.resize(series.size() - kWal.size());
  return series;
}

std::vector<ingest::RecoveryCluster> clusters_in(const repo::SnapshotList& list,
                                                 const std::string& series,
                                                 const repo::Keyring& keyring,
                                                 Output& output) {
  for (const auto& damage : list.damage) output.warning(damage);
  const auto bases = repo::series_tag(keyring, series);
  const auto wal = repo::series_tag(keyring, series + std::string(kWal));
  auto clusters = ingest::find_clusters(list.snapshots, bases, wal);
  if (!clusters.empty()) return clusters;
  for (const auto& valid : list.snapshots) {
    const auto& tag = valid.snapshot.header.series_tag;
    if ((tag == bases || tag == wal) && !valid.snapshot.record) {
      throw repo::WrongKey("the key given has the " +
                           std::string(name_of(keyring.role())) +
                           " role, which may not read what snapshots of " +
                           series + " say of themselves");
    }
  }
  (void)series_of(series, keyring, list, output);
  throw repo::NotFound("series " + series +
                       " holds neither a base backup nor WAL of PostgreSQL");
}

}  // namespace cairn::cli
