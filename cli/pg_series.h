// The two series of a PostgreSQL cluster: its base backups, and beside them its
// WAL; and where this host keeps WAL on its way there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "cli/command_line.h"
#include "repo/repository.h"

namespace cairn::cli {

// As --series has it, "pg" without: "HOST/pg".
[[nodiscard]] std::string pg_series(const std::optional<std::string>& given);

// Of the WAL beside those: "HOST/pg/wal".
[[nodiscard]] std::string pg_wal_series(
    const std::optional<std::string>& given);

// The spool of 'pg wal-receive', with a folder for each cluster.
[[nodiscard]] std::filesystem::path wal_spool_of(
    const std::string& wal_series, const repo::Repository& repository);

// The digits by which names of this host's things tell series apart.
[[nodiscard]] std::string digits_of_series(const std::string& text);

}  // namespace cairn::cli
