// What a repository lacks of what this host saw of it before, in words.
#pragma once

#include <string>

#include "repo/witness.h"

namespace cairn::cli {

// "epoch 4 of TIME is gone, the newest is 2 of TIME; snapshot 1f2e3d4c, which
// arrived TIME, is gone, and nothing says that it was forgotten". Requires: it
// shows less.
[[nodiscard]] std::string text_of(const repo::Comparison& comparison);

}  // namespace cairn::cli
