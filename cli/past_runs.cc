#include "cli/past_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>

#include "cli/config/configuration.h"
#include "cli/job_lock.h"
#include "cli/run_aftermath.h"
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

// Of a job, with what it takes to ask for its runs.
class Question {
 public:
  Question(const std::string& job, const GlobalOptions& options) {
    context_.options = options;
    context_.keep_secret_variables();  // for the runs of whoever asks
    all_ = &context_.need_configuration();
    job_ = all_->job(job);
    if (job_ == nullptr) throw repo::NotFound(all_->file + ": no job " + job);
    context_.use_repository(*all_->repository(job_->repository));
  }

  [[nodiscard]] std::vector<PastRun> log();
  [[nodiscard]] std::vector<PastRun> repository();
  [[nodiscard]] bool was_last_refused();

  // The run that the log has the begin of, and no end, is at work, or was
  // killed; of that, tells whoever is to know. False: it is at work.
  [[nodiscard]] bool was_killed();

 private:
  [[nodiscard]] service::RunLog run_log() {
    return {host_folders().state, context_.repo_name(), job_->series};
  }

  Context context_;
  const config::Configuration* all_ = nullptr;
  const config::Job* job_ = nullptr;
};

bool Question::was_killed() {
  try {
    const JobLock lock(host_folders().state, context_.repo_name(), job_->series,
                       std::chrono::seconds(0), {});
    tell_of_lost_run({*all_, *job_, job_->series}, context_);
    return true;
  } catch (const repo::LockedError&) {
    return false;
  }
}

std::vector<PastRun> Question::log() {
  std::vector<PastRun> runs;
  const auto log = run_log();
  for (const auto& run : log.read()) {
    if (run.was_refused) continue;  // it did nothing
    const bool was_cut_short =
        run.outcome == service::RunOutcome::interrupted ||
        run == service::lost_run(run.began);
    runs.push_back({run.began, was_cut_short});
  }
  if (const auto last = log.unfinished()) {
    runs.push_back({*last, was_killed()});
  }
  return runs;
}

bool Question::was_last_refused() {
  const auto runs = run_log().read();
  return !runs.empty() && runs.back().was_refused;
}

std::vector<PastRun> Question::repository() {
  std::vector<PastRun> runs;
  auto repository = context_.open_to_read();
  SnapshotSelector selector(context_, repository);
  for (const auto* const valid : selector.all()) {
    const auto& snapshot = valid->snapshot;
    if (!snapshot.record || snapshot.record->series != job_->series) continue;
    runs.push_back(
        {Moment(std::chrono::seconds(snapshot.header.time.seconds))});
  }
  return runs;
}

}  // namespace

std::vector<PastRun> past_runs(const std::string& job,
                               const GlobalOptions& options,
                               const Complain& complain) {
  Question question(job, options);
  std::vector<PastRun> runs;
  try {
    runs = question.log();
    require_writable(host_folders().state);
    return runs;
  } catch (const repo::Error& e) {
    complain(std::string(e.what()) +
             ": runs cannot be remembered; what has a snapshot counts as run");
  }
  try {
    const auto saved = question.repository();
    runs.insert(runs.end(), saved.begin(), saved.end());
  } catch (const repo::Error& e) {
    complain("nor is it known what has a snapshot: " + std::string(e.what()));
  }
  return runs;
}

void tell_if_killed(const std::string& job, const GlobalOptions& options) {
  (void)Question(job, options).log();
}

bool was_refused(const std::string& job, const GlobalOptions& options) {
  return Question(job, options).was_last_refused();
}

}  // namespace cairn::cli
