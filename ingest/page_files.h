// Which files are written in place, page by page, so that fixed cuts serve them
// better than cuts by content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "repo/entry.h"

namespace cairn::ingest {

// How many bytes of a file's beginning profile_of() wants to see.
inline constexpr std::size_t kProfilePeekBytes = 128;

// `page` for SQLite databases and PostgreSQL heap and index files, else `cdc`.
[[nodiscard]] repo::Profile profile_of(std::uint64_t file_size,
                                       std::span<const std::byte> beginning);

}  // namespace cairn::ingest
