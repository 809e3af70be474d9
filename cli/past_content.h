// What the sources of a job had when they were last saved: what is empty now,
// and was not then, is a volume that is not mounted, or a dump of nothing.
// It is saved in part, or fails, so that it counts for nothing and nothing is
// forgotten for it (docs/decisions/0049).
#pragma once

#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "cli/job_history.h"
#include "repo/repository.h"

namespace cairn::cli {

class PastContent {
 public:
  // From the snapshots, as far as this key may read them, and from the log,
  // which knows of those that were forgotten, too.
  PastContent(const config::Job& job, const config::Configuration& all,
              repo::Repository& repository, Context& context);

  // What is wrong with a source of the job when it has no content. Empty:
  // nothing is, since it had none before, or may be empty.
  [[nodiscard]] std::string if_empty(const config::Source& source) const;

 private:
  std::vector<Attempt> attempts_;  // newest first
  service::Moment now_;
};

}  // namespace cairn::cli
