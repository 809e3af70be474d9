// A backup from what the command line says to its report, whatever the sources
// are: what all commands that save something do alike.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/progress_display.h"
#include "ingest/backup.h"
#include "repo/blob_codec.h"
#include "repo/entry.h"

namespace cairn::cli {

// What differs between them.
struct BackupRequest {
  std::string series;  // whole: HOST/NAME
  std::vector<std::string> tags = {};
  std::optional<repo::Timestamp> time = {};  // of the data; nothing: now
  repo::CompressionLevels levels = {};
  std::optional<std::string> host = {};  // nothing: this machine's name
};

struct BackupOutcome {
  ingest::BackupReport report;
  double seconds = 0;
};

// With progress on the screen; throws as ingest::back_up() does. Afterwards
// output may be lost, since what it tells of is done.
[[nodiscard]] BackupOutcome run_backup(repo::Repository& repository,
                                       std::vector<ingest::Source> sources,
                                       const BackupRequest& request,
                                       const ProgressWords& words,
                                       Context& context,
                                       const std::stop_token& stop);

}  // namespace cairn::cli
