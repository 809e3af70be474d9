#include "cli/past_content.h"

#include <iterator>
#include <utility>

#include "cli/quantity.h"
#include "cli/time_text.h"
#include "repo/error.h"
#include "service/run_log.h"

namespace cairn::cli {
namespace {

// A log that cannot be read is told of where it is to be written.
void add_log(const std::string& place, const std::string& series,
             std::vector<Attempt>& attempts) {
  try {
    auto more = attempts_in(
        service::RunLog(host_folders().state, place, series).read());
    std::ranges::move(more, std::back_inserter(attempts));
  } catch (const repo::IoError&) {
    return;
  }
}

std::string why(const Attempt& attempt, const Judged& judged) {
  return "is empty, and had " + size_text(judged.bytes) +
         " when it was last saved, at " +
         local_time_text(timestamp_of(attempt.when)) +
         "; nothing is forgotten for it: if it may be empty, say `allow_empty: "
         "true` in its source";
}

}  // namespace

PastContent::PastContent(const config::Job& job,
                         const config::Configuration& all,
                         repo::Repository& repository, Context& context)
    : now_(moment_of(context.now())) {
  const auto place = context.repo_name();
  std::vector<Attempt> log;
  add_log(place, job.series, log);
  for (const auto& series : series_of_parts(job, place, all)) {
    add_log(place, series, log);
  }
  auto snapshots = attempts_in(repository.snapshots(context.now()).snapshots,
                               job, repository.keyring());
  attempts_ = together(std::move(snapshots).value_or(std::vector<Attempt>()),
                       std::move(log));
}

std::string PastContent::if_empty(const config::Source& source) const {
  if (source.may_be_empty) return "";
  for (const auto& attempt : attempts_) {
    if (attempt.when > now_) continue;
    const auto judged = judge(attempt, source);
    // Those in which it was empty already, and should not have been.
    if (!judged.is_there || (judged.bytes == 0 && !judged.is_good)) continue;
    return judged.bytes == 0 ? "" : why(attempt, judged);
  }
  return "";
}

}  // namespace cairn::cli
