#include "cli/pg_series.h"

#include <span>

#include "cli/context.h"
#include "cli/series.h"
#include "crypto/digest.h"
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

std::string pg_wal_series(const std::optional<std::string>& given) {
  return pg_series(given) + std::string(kWal);
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

std::string digits_of_series(const std::string& text) {
  constexpr std::size_t kBytes = 8;
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  return crypto::to_hex(std::span(digest).first<kBytes>());
}

std::filesystem::path wal_spool_of(const std::string& wal_series,
                                   const repo::Repository& repository) {
  return host_folders().state / repository.keyring().repository().hex() /
         ("wal-" + digits_of_series(wal_series));
}

}  // namespace cairn::cli
