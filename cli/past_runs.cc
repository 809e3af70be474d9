#include "cli/past_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>

#include "cli/config/configuration.h"
#include "cli/snapshot_selector.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "service/run_log.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using Complain = std::function<void(std::string_view)>;
using service::Moment;
using service::PastRun;

// A full disk takes an empty file still. Throws repo::IoError.
void require_writable(const fs::path& state) {
  std::error_code error;
  fs::create_directories(state, error);
  const auto file = state / (".probe-" + std::to_string(::getpid()));
  const ingest::UniqueFd fd(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) repo::throw_system_error(file.string(), errno);
  const ssize_t size = ::write(fd.get(), "?", 1);
  const int why = errno;
  ::unlink(file.c_str());
  if (size != 1) repo::throw_system_error(file.string(), why);
}

std::vector<PastRun> of_log(const config::Job& job, const std::string& place) {
  std::vector<PastRun> runs;
  for (const auto& run :
       service::RunLog(host_folders().state, place, job.series).read()) {
    runs.push_back(
        {.began = run.began,
         .was_cut_short = run.outcome == service::RunOutcome::interrupted});
  }
  return runs;
}

std::vector<PastRun> of_repository(const config::Job& job, Context& context) {
  std::vector<PastRun> runs;
  auto repository = context.open_to_read();
  SnapshotSelector selector(context, repository);
  for (const auto* const valid : selector.all()) {
    const auto& snapshot = valid->snapshot;
    if (!snapshot.record || snapshot.record->series != job.series) continue;
    runs.push_back(
        {Moment(std::chrono::seconds(snapshot.header.time.seconds))});
  }
  return runs;
}

}  // namespace

std::vector<PastRun> past_runs(const std::string& name,
                               const GlobalOptions& options,
                               const Complain& complain) {
  Context context;
  context.options = options;
  const auto& all = context.need_configuration();
  const auto& job = *all.job(name);
  context.use_repository(*all.repository(job.repository));
  std::vector<PastRun> runs;
  try {
    runs = of_log(job, context.repo_name());
    require_writable(host_folders().state);
    return runs;
  } catch (const repo::Error& e) {
    complain(std::string(e.what()) +
             ": runs cannot be remembered; what has a snapshot counts as run");
  }
  try {
    const auto saved = of_repository(job, context);
    runs.insert(runs.end(), saved.begin(), saved.end());
  } catch (const repo::Error& e) {
    complain("nor is it known what has a snapshot: " + std::string(e.what()));
  }
  return runs;
}

}  // namespace cairn::cli
