// Entries of a snapshot as `ls` and `find` show them.
#pragma once

#include <string>

#include "cli/json.h"
#include "repo/entry.h"

namespace cairn::cli {

// The path of an entry in a folder. Throws repo::CorruptionError beyond what a
// path may be (FORMAT.md, section 12), so that no tree leads a walk too deep.
[[nodiscard]] std::string path_below(const std::string& folder,
                                     const std::string& name);

// "drwxr-xr-x"
[[nodiscard]] std::string mode_text(const repo::Entry& entry);

// "drwxr-xr-x  root  root  1.2 KiB  2026-11-20 14:30:00 +01:00  "
[[nodiscard]] std::string long_prefix(const repo::Entry& entry);

// " -> target" of a symlink.
[[nodiscard]] std::string long_suffix(const repo::Entry& entry);

// A line of type `type`; the kind of entry is `kind`.
[[nodiscard]] Json json_of(const repo::Entry& entry, const std::string& path,
                           std::string_view type, const repo::Timestamp& now);

}  // namespace cairn::cli
