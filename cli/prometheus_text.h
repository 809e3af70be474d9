// How safe things are, as metrics for Prometheus, in the text format that
// node_exporter's textfile collector reads (docs/monitoring/README.md).
#pragma once

#include <filesystem>
#include <string>

#include "cli/status_report.h"

namespace cairn::cli {

// No time stamps, no paths, no ids of snapshots: labels whose values grow in
// number cost who keeps them. What is not known has no sample.
[[nodiscard]] std::string prometheus_text(const StatusReport& report);

// In one step, and readable by everyone: the collector is another user. Throws
// repo::IoError when the folder is not there, or not to be written to.
void write_prometheus_file(const std::filesystem::path& file,
                           const StatusReport& report);

}  // namespace cairn::cli
