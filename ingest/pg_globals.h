// What pg_dumpall --globals-only writes, taken apart to leave out what a server
// has already: a role that is there is neither an error nor changed, so that a
// restore beside a live server sets neither its passwords back nor what it may.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

struct PgGlobalNames {
  std::set<std::string> roles;
  std::set<std::string> tablespaces;
};

struct PgGlobals {
  // The statements that are left, for psql.
  std::string script;
  // What is made by them, and what was there already.
  PgGlobalNames made;
  PgGlobalNames kept;
};

// No globals.sql needs more.
inline constexpr std::size_t kMaxGlobalsBytes = std::size_t{64} << 20;

// Throws ProducerFailed when `text` is cut, and repo::RefusedForSafety when it
// holds databases, too, or commands for psql, which would lead elsewhere.
[[nodiscard]] PgGlobals globals_without(std::string_view text,
                                        const PgGlobalNames& existing);

}  // namespace cairn::ingest
