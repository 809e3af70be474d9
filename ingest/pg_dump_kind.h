// What kind of dump a stream is, told by how it begins.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cairn::ingest {

enum class PgDumpKind {
  archive,  // pg_dump --format=custom
  tar,      // pg_dump --format=tar
  sql,      // of pg_dump: one database
  globals,  // of pg_dumpall: what belongs to no database
};

// How many bytes of the beginning tell it, or as many as there are.
inline constexpr std::size_t kPgDumpHeadBytes = 512;

// Nothing: it is none of them.
[[nodiscard]] std::optional<PgDumpKind> kind_of_pg_dump(
    std::span<const std::byte> head);

// What else it is, as part of a message: "compressed by gzip".
[[nodiscard]] std::string_view what_is_no_pg_dump(
    std::span<const std::byte> head);

}  // namespace cairn::ingest
