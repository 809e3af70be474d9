// The series of a PostgreSQL cluster's base backups, beside which its WAL lies
// (pg_wal.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "ingest/recovery_range.h"
#include "repo/repository.h"

namespace cairn::cli {

// As --series has it, "pg" without: "HOST/pg".
[[nodiscard]] std::string pg_series(const std::optional<std::string>& given);

// What both hold, cluster by cluster; `list` must outlive it. Warns of damage
// in it. Throws repo::NotFound for none, with names that are near, and
// repo::WrongKey where this role may not read what snapshots say of themselves.
[[nodiscard]] std::vector<ingest::RecoveryCluster> clusters_in(
    const repo::SnapshotList& list, const std::string& series,
    const repo::Keyring& keyring, Output& output);

}  // namespace cairn::cli
