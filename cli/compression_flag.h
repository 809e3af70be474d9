// --compression, alike in every command that stores content.
#pragma once

#include "cli/command_line.h"
#include "repo/blob_codec.h"

namespace cairn::cli {

void declare_compression(Flags& flags, repo::CompressionLevels& levels);

}  // namespace cairn::cli
