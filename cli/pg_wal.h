// What the commands about a PostgreSQL server's WAL share: under which series
// it is stored, and where it lies on this host before it is.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "cli/context.h"
#include "ingest/wal_store.h"
#include "repo/ids.h"

namespace cairn::cli {

// Of the series that bases are in: "HOST/pg" has its WAL in "HOST/pg/wal".
[[nodiscard]] std::string wal_series(const std::optional<std::string>& given);

// "cairn_HOST_pg_wal_0123abcd": people see whose it is, and two repositories do
// not share one.
[[nodiscard]] std::string usual_slot(const std::string& wal_series,
                                     const repo::RepositoryId& repository);

// The spools of that series; a folder in it for each cluster.
[[nodiscard]] std::filesystem::path wal_spools(
    const std::string& wal_series, const repo::RepositoryId& repository);

[[nodiscard]] ingest::WalStoreOptions wal_store_options(
    const std::string& wal_series, const Context& context);

// The first digits of its SHA-256, for names of files.
[[nodiscard]] std::string first_digits(std::string_view text);

}  // namespace cairn::cli
