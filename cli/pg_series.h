// The two series of a PostgreSQL cluster: its base backups, and beside them its
// WAL; and where this host keeps WAL on its way there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "ingest/recovery_range.h"
#include "repo/repository.h"

namespace cairn::cli {

// As --series has it, "pg" without: "HOST/pg".
[[nodiscard]] std::string pg_series(const std::optional<std::string>& given);

// Of the WAL beside those: "HOST/pg/wal".
[[nodiscard]] std::string pg_wal_series(
    const std::optional<std::string>& given);

// What both hold, cluster by cluster; `list` must outlive it. Warns of damage
// in it. Throws repo::NotFound for none, with names that are near, and
// repo::WrongKey where this role may not read what snapshots say of themselves.
[[nodiscard]] std::vector<ingest::RecoveryCluster> clusters_in(
    const repo::SnapshotList& list, const std::string& series,
    const repo::Keyring& keyring, Output& output);

// The spool of 'pg wal-receive', with a folder for each cluster.
[[nodiscard]] std::filesystem::path wal_spool_of(
    const std::string& wal_series, const repo::Repository& repository);

// The digits by which names of this host's things tell series apart.
[[nodiscard]] std::string digits_of_series(const std::string& text);

}  // namespace cairn::cli
