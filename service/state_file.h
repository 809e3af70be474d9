// Small files in which this machine remembers what it did: each whole or not
// there, and never believed to be longer than it may be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "ingest/unique_fd.h"

namespace cairn::service {

// STATE/FOLDER/<digits>ENDING: one file for each series of a repository,
// whatever bytes their names hold.
[[nodiscard]] std::filesystem::path state_file(
    const std::filesystem::path& state, std::string_view folder,
    const std::string& repository, const std::string& series,
    std::string_view ending);

// Nothing: there is none. Of a longer one, its last `most` bytes. Throws
// repo::IoError when it cannot be read.
[[nodiscard]] std::optional<std::string> read_state_file(
    const std::filesystem::path& file, std::uint64_t most);

// Keeps other processes from changing it meanwhile: a lock beside it, since the
// file itself is replaced. Makes the folder, too. Throws repo::IoError.
[[nodiscard]] ingest::UniqueFd lock_state_file(
    const std::filesystem::path& file);

// Likewise, without waiting. Nothing: another process has it.
[[nodiscard]] std::optional<ingest::UniqueFd> try_to_lock_state_file(
    const std::filesystem::path& file);

// Makes the folder, too. Durable when it returns. Throws repo::IoError.
void replace_state_file(const std::filesystem::path& file,
                        std::string_view text);

// In one write behind what is there, on a line of its own. Likewise.
void append_to_state_file(const std::filesystem::path& file,
                          std::string_view line);

}  // namespace cairn::service
