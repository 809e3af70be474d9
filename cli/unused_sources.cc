#include "cli/unused_sources.h"

#include <algorithm>

namespace cairn::cli {

std::vector<std::string> notices_of_unused_sources(
    const config::Configuration& all) {
  std::vector<std::string> notices;
  for (const auto& source : all.sources) {
    const bool is_used =
        std::ranges::any_of(all.jobs, [&](const config::Job& job) {
          return std::ranges::find(job.sources, source.name) !=
                 job.sources.end();
        });
    if (is_used) continue;
    notices.push_back("source " + source.name +
                      " is in no job, and is not saved; name it in `sources` "
                      "of one");
  }
  return notices;
}

}  // namespace cairn::cli
