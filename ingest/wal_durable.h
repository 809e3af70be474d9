// The record, in a run of the spool, of how far its segments are synced.
//
//   number u64 | lsn u64 | SHA-256 of these, its first 16 bytes
//
// Two of them, written in turn: a torn one leaves the other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "ingest/lsn.h"
#include "ingest/unique_fd.h"

namespace cairn::ingest {

inline constexpr std::string_view kDurableFile = "durable";

struct WalDurable {
  std::uint64_t number = 0;  // of records written
  Lsn end;
};

// The newest that is whole; nothing: there is none. Throws IoError.
[[nodiscard]] std::optional<WalDurable> read_durable(
    const UniqueFd& file, const std::filesystem::path& path);

// Of the run in that folder, which another process may be writing. Nothing:
// none is there, or it is gone. Throws IoError.
[[nodiscard]] std::optional<WalDurable> read_durable_of(
    const std::filesystem::path& run);

// In the place of the one before the last, and synced. Throws IoError.
void write_durable(const UniqueFd& file, const std::filesystem::path& path,
                   const WalDurable& durable);

}  // namespace cairn::ingest
