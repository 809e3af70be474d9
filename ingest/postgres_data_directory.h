// What a restored base backup needs beside its files before a server starts
// from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

// Makes `folder`, into which the tree of a PostgresBase was restored whole, a
// data directory: it gets the mode and, as far as we may, the owner that a
// server insists on. Tablespaces stay where they are, as folders of pg_tblspc,
// and postgresql.auto.conf says that they may; so that nothing ever leads to
// where the live server has them. `server_version` is the fact of that name.
// Answers what its user should know. Throws repo::IoError.
[[nodiscard]] std::vector<std::string> finish_data_directory(
    const std::filesystem::path& folder, std::string_view server_version);

}  // namespace cairn::ingest
