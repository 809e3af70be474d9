// The one way by which a restore opens anything: one name, in an open folder,
// and never through a symlink.
#pragma once

#include <fcntl.h>

#include "ingest/unique_fd.h"

namespace cairn::ingest {

// Sets errno where it returns nothing open. `flags` and `mode` as for open(2).
//
// Requires: `name` is one component, neither "." nor "..".
[[nodiscard]] UniqueFd open_beneath(int folder, const char* name, int flags,
                                    mode_t mode = 0);

}  // namespace cairn::ingest
