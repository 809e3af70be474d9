// How safe things are, as metrics for Prometheus, in the text format that
// node_exporter's textfile collector reads (docs/monitoring/README.md).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "cli/status_report.h"

namespace cairn::cli {

// No time stamps, no paths, no ids of snapshots: labels whose values grow in
// number cost who keeps them. What is not known has no sample; but of a
// repository that was not opened, what `before`, the text of the last time,
// says of its packs: an alert must not end since nobody looked.
[[nodiscard]] std::string prometheus_text(const StatusReport& report,
                                          std::string_view before = {});

// In one step, and readable by everyone: the collector is another user. Throws
// repo::IoError when the folder is not there, or not to be written to.
void write_prometheus_file(const std::filesystem::path& file,
                           const StatusReport& report);

}  // namespace cairn::cli
