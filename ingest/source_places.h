// Where the sources of one backup lie in its tree: that no two are in each
// other's way, and which folders they share.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/backup.h"

namespace cairn::ingest {

// The names on the way to a stream, its own at the end: what lies between the
// slashes. Throws std::invalid_argument for what no stream can be called.
[[nodiscard]] std::vector<std::string> names_of_stream(std::string_view name);

// The folders, as "/srv/db", above what two sources or more put there. Reads
// nothing but where given paths lead. Throws std::invalid_argument when the
// same place, or one inside it, is another source's.
[[nodiscard]] std::set<std::string> shared_folders(
    std::span<const Source> sources);

}  // namespace cairn::ingest
