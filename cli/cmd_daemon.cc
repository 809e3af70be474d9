#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/context.h"
#include "cli/exit_code.h"
#include "cli/hang_up.h"
#include "cli/interrupt.h"
#include "cli/job_lock.h"
#include "cli/job_process.h"
#include "cli/json.h"
#include "cli/last_right_file.h"
#include "cli/past_runs.h"
#include "cli/planned_job.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/byte_stream.h"
#include "repo/error.h"
#include "service/scheduler.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using service::Moment;

// Side by side, so that a night's long run does not keep an hourly one waiting;
// bounded, so that a machine that was off for a week is not busy with all.
constexpr std::size_t kMostAtOnce = 4;

// A clock that is set, and a file that is changed, are noticed within that.
constexpr std::chrono::seconds kLongestSleep{10};
constexpr std::chrono::milliseconds kLookAtChildren{200};

struct Options {
  ScheduleWords words;
  bool is_once = false;
};

// Which state of a file was read.
struct FileState {
  explicit FileState(const std::string& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) return;
    inode = status.st_ino;
    size = status.st_size;
    changed = {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
  }
  bool operator==(const FileState&) const = default;

  ino_t inode = 0;
  off_t size = -1;
  std::pair<std::int64_t, std::int64_t> changed{};
};

std::string text_of_file(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The jobs of a file that this daemon looks after, by whatever name that was
// called; to its end, no other one does.
class Claims {
 public:
  Claims(const std::string& file, Output& output)
      : file_(fs::weakly_canonical(file).string()), output_(output) {}

  // False: another one has it.
  bool claim(const std::string& job) {
    if (locks_.contains(job)) return true;
    try {
      locks_.emplace(job,
                     JobLock(host_folders().state, "daemon", file_ + '\0' + job,
                             std::chrono::seconds(0), {}));
    } catch (const repo::LockedError&) {
      return false;
    } catch (const repo::IoError& e) {  // no reason to run nothing
      output_.error(std::string(e.what()) +
                    ": it cannot be seen whether another daemon looks after "
                    "job " +
                    job);
    }
    return true;
  }

 private:
  std::string file_;
  Output& output_;
  std::map<std::string, JobLock> locks_;
};

class Daemon {
 public:
  // Throws repo::LockedError where another one has a job; with --once, it has
  // those that are left.
  Daemon(const Options& options, Context& context,
         const config::Configuration& all)
      : options_(options),
        context_(context),
        file_(fs::absolute(all.file).lexically_normal().string()),
        claims_(file_, context.output),
        read_(file_),
        text_(text_of_file(file_)),
        scheduler_(all.host) {
    schedule(all);
  }

  // Until it is interrupted, or all is done that --once is for.
  ExitCode run(const Interrupt& interrupt);

 private:
  struct Running {
    std::string job;
    std::unique_ptr<JobProcess> process;
  };

  [[nodiscard]] Moment now() const {
    return Moment(std::chrono::seconds(context_.now().seconds));
  }
  void say(const std::string& text) const {
    context_.output.note(local_time_text(context_.now()) + " " + text);
  }
  // A line for each of its lines.
  void complain(std::string_view text) const {
    for (;;) {
      const auto end = text.find('\n');
      context_.output.error(local_time_text(context_.now()) + " " +
                            std::string(text.substr(0, end)));
      if (end == text.npos) return;
      text.remove_prefix(end + 1);
    }
  }

  [[nodiscard]] std::vector<PlannedJob> claimed_jobs(
      const config::Configuration& all);
  [[nodiscard]] std::vector<service::PastRun> past_of(const std::string& job);
  void schedule(const config::Configuration& all);
  void read_again_if_changed(bool is_told_to);
  void read_again();
  [[nodiscard]] std::string file_for_runs();
  [[nodiscard]] std::vector<std::string> command_of(const PlannedJob& planned);
  void begin_what_is_due();
  void begin(const service::Start& start);
  void take_ended();
  void sleep(const Interrupt& interrupt);
  [[nodiscard]] std::chrono::milliseconds time_to_sleep();
  void end_all();
  void tell_end(const std::string& job, const std::string& failure);
  void tell_if_killed(const std::string& job);
  [[nodiscard]] bool was_refused(const std::string& job);

  const Options& options_;
  Context& context_;
  std::string file_;
  Claims claims_;
  FileState read_;
  std::string text_;        // of the file as it was when it was right
  bool is_broken_ = false;  // the file, as it is now
  LastRightFile last_right_{host_folders().state};
  std::vector<config::Job> jobs_;  // of the file; planned_ points to them
  std::vector<PlannedJob> planned_;
  service::Scheduler scheduler_;
  std::vector<Running> running_;
  HangUp hang_up_;
  bool has_failed_ = false;
};

std::vector<PlannedJob> Daemon::claimed_jobs(const config::Configuration& all) {
  std::vector<PlannedJob> ours;
  for (auto& planned : planned_jobs(all, options_.words, "daemon")) {
    if (claims_.claim(planned.job->name)) {
      ours.push_back(std::move(planned));
    } else if (!options_.is_once) {
      throw repo::LockedError("another daemon watches over the jobs of " +
                              all.file + ": it has " + planned.job->name);
    }
  }
  return ours;
}

std::vector<service::PastRun> Daemon::past_of(const std::string& job) {
  auto options = context_.options;
  options.config = file_;
  try {
    return past_runs(job, options,
                     [this](std::string_view text) { complain(text); });
  } catch (const std::exception& e) {
    complain(e.what());
    return {};
  }
}

// Takes the jobs over from `all`, which need not live on. All or nothing of it.
void Daemon::schedule(const config::Configuration& all) {
  auto planned = claimed_jobs(all);
  std::vector<config::Job> jobs;
  for (const auto& one : planned) jobs.push_back(*one.job);
  std::vector<service::ScheduledJob> scheduled;
  for (std::size_t i = 0; i < planned.size(); ++i) {
    planned[i].job = &jobs[i];
    const auto& schedule = planned[i].schedule;
    scheduled.push_back({.name = jobs[i].name,
                         .timetable = schedule.timetable,
                         .jitter = schedule.jitter,
                         .catches_up = schedule.catches_up});
  }
  scheduler_.set_jobs(
      std::move(scheduled), now(),
      [&](const service::ScheduledJob& job) { return past_of(job.name); });
  jobs_ = std::move(jobs);
  planned_ = std::move(planned);
}

void Daemon::read_again_if_changed(bool is_told_to) {
  const FileState state(file_);
  if (state == read_ && !is_told_to) return;
  read_ = state;
  read_again();
}

// A file that is wrong is one that somebody is about to mend: what was right
// goes on meanwhile.
void Daemon::read_again() {
  try {
    auto text = text_of_file(file_);
    const auto all = load_configuration(file_);
    schedule(all);
    text_ = std::move(text);
    is_broken_ = false;
    last_right_.drop();
    say("read " + file_ + " again: " + counted(planned_.size(), "job"));
  } catch (const std::exception& e) {
    is_broken_ = true;
    complain(e.what());
    complain(file_ + ": is not used; what it said before goes on");
  }
}

// A run reads the file by itself; while that is wrong, a copy of what was
// right.
std::string Daemon::file_for_runs() {
  return is_broken_ ? last_right_.of(text_).string() : file_;
}

std::vector<std::string> Daemon::command_of(const PlannedJob& planned) {
  // Whatever has become of its name since: this very program.
  std::vector<std::string> command = {"/proc/self/exe", "--config",
                                      file_for_runs(), "--progress", "none"};
  if (context_.options.repo) {
    command.insert(command.end(), {"--repo", *context_.options.repo});
  }
  if (context_.options.is_quiet) command.emplace_back("--quiet");
  const auto words = planned.run_words();
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

void Daemon::begin(const service::Start& start) {
  const auto planned = std::ranges::find_if(
      planned_,
      [&](const PlannedJob& one) { return one.job->name == start.job; });
  const repo::Timestamp due{start.due.time_since_epoch().count(), 0};
  say("job " + start.job + " begins; it was due " + local_time_text(due) +
      (start.was_missed ? ", and missed" : ""));
  if (context_.output.is_json()) {
    context_.output.json(Json::line("job_begin", context_.now())
                             .set("job", start.job)
                             .set("due", due)
                             .set("was_missed", start.was_missed));
  }
  try {
    running_.push_back(
        {start.job, std::make_unique<JobProcess>(
                        command_of(*planned),
                        [this, name = start.job](std::string_view line) {
                          say(name + ": " + harmless(line));
                        })});
  } catch (const std::runtime_error& e) {  // it is the machine that fails
    scheduler_.ended(start.job);
    tell_end(start.job, e.what());
  }
}

void Daemon::tell_end(const std::string& job, const std::string& failure) {
  has_failed_ = has_failed_ || !failure.empty();
  if (failure.empty()) {
    say("job " + job + " is done");
  } else {
    complain("job " + job + " failed: " + failure);
  }
  if (context_.output.is_json()) {
    Json json = Json::line("job_end", context_.now());
    json.set("job", job);
    failure.empty() ? json.set("failure", nullptr)
                    : json.set("failure", failure);
    context_.output.json(json);
  }
}

void Daemon::tell_if_killed(const std::string& job) {
  auto options = context_.options;
  try {
    options.config = file_for_runs();
    cli::tell_if_killed(job, options);
  } catch (const std::exception& e) {
    complain(e.what());
  }
}

// A run that was fenced off ends with the same code, and has read everything.
bool Daemon::was_refused(const std::string& job) {
  auto options = context_.options;
  try {
    options.config = file_for_runs();
    return cli::was_refused(job, options);
  } catch (const std::exception& e) {
    complain(e.what());
    return true;
  }
}

void Daemon::begin_what_is_due() {
  const std::size_t room = kMostAtOnce - std::min(kMostAtOnce, running_.size());
  for (const auto& start : scheduler_.begin(now(), room)) begin(start);
}

void Daemon::take_ended() {
  std::vector<Running> still;
  for (auto& one : running_) {
    one.process->read();
    if (!one.process->has_ended()) {
      still.push_back(std::move(one));
      continue;
    }
    const auto failure = one.process->failure();
    // With --once, whoever begins the next daemon has it tried again.
    const bool is_to_be_tried_again =
        !options_.is_once &&
        one.process->exit_status() == static_cast<int>(ExitCode::locked) &&
        was_refused(one.job);
    if (is_to_be_tried_again) {
      scheduler_.refused(one.job, now());
    } else {
      scheduler_.ended(one.job);
    }
    tell_end(one.job, failure);
    if (!failure.empty()) tell_if_killed(one.job);
  }
  running_ = std::move(still);
}

std::chrono::milliseconds Daemon::time_to_sleep() {
  using std::chrono::milliseconds;
  if (!running_.empty()) return kLookAtChildren;
  const auto at = now();
  const auto next = scheduler_.next(at);
  if (!next) return kLongestSleep;
  // Whole seconds are compared: half a second later it surely is due.
  constexpr milliseconds kABit{50};
  return std::min<milliseconds>(kLongestSleep, *next - at + kABit);
}

void Daemon::sleep(const Interrupt& interrupt) {
  std::vector<pollfd> fds = {{interrupt.fd(), POLLIN, 0},
                             {hang_up_.fd(), POLLIN, 0}};
  for (const auto& one : running_) {
    if (one.process->fd() >= 0) fds.push_back({one.process->fd(), POLLIN, 0});
  }
  (void)::poll(fds.data(), fds.size(),
               static_cast<int>(time_to_sleep().count()));
}

// Each run gets to know, and ends as it does at Ctrl-C.
void Daemon::end_all() {
  if (!running_.empty()) {
    say("waits for the end of " + counted(running_.size(), "job"));
  }
  for (const auto& one : running_) one.process->terminate();
  while (!running_.empty()) {
    std::vector<pollfd> fds;
    for (const auto& one : running_) {
      if (one.process->fd() >= 0) fds.push_back({one.process->fd(), POLLIN, 0});
    }
    (void)::poll(fds.data(), fds.size(),
                 static_cast<int>(kLookAtChildren.count()));
    take_ended();
  }
}

ExitCode Daemon::run(const Interrupt& interrupt) {
  if (planned_.empty()) return ExitCode::ok;  // they are looked after
  const auto next = scheduler_.next(now());
  say("watches over " + counted(planned_.size(), "job") + " of " + file_ +
      (next ? "; next at " +
                  local_time_text({next->time_since_epoch().count(), 0})
            : ""));
  while (!interrupt.token().stop_requested()) {
    read_again_if_changed(hang_up_.take());
    begin_what_is_due();
    context_.output.flush();
    if (options_.is_once && running_.empty() && scheduler_.is_idle(now())) {
      return has_failed_ ? ExitCode::failed : ExitCode::ok;
    }
    sleep(interrupt);
    take_ended();
  }
  end_all();
  say("ends");
  return ExitCode::ok;
}

ExitCode run(const Options& options, Context& context) {
  const auto& all = context.need_configuration();
  if (context.password().text()) {
    throw UsageError(
        "daemon: CAIRN_PASSWORD is not handed on to runs; let the repository "
        "say `key` or `password: {file: F}`, or set CAIRN_PASSWORD_FILE");
  }
  const Interrupt interrupt;
  return Daemon(options, context, all).run(interrupt);
}

}  // namespace

Command daemon_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "daemon",
      .group = CommandGroup::backup,
      .summary = "run jobs when they are due, for containers",
      .text =
          "Runs the jobs of the configuration file that have a schedule, each "
          "when it is due, until it is told to end (SIGTERM): then it tells "
          "the runs that are at work, and waits for them. A run that was "
          "missed, since the machine was off or the clock was set, is made up "
          "for by one; so is one that never was. Jobs run side by side, four "
          "at most, each as a process 'cairn run JOB'. A file that is changed "
          "is read again, at once with SIGHUP; while it is wrong, the one "
          "before goes on. A second daemon of the same jobs is refused (11). "
          "With --once it ends when nothing is due (1 if a run failed): for "
          "cron, or any other program that can wake it.",
      .examples =
          "cairn daemon\n"
          "cairn daemon --once\n"
          "cairn daemon --frequency daily --retention 30",
      .declare =
          [options](Flags& flags) {
            flags.arguments("JOB", options->words.jobs, Flags::Count::any);
            declare_schedule_words(flags, options->words);
            flags.flag("--once", options->is_once,
                       "run what is due now, and end");
          },
      .run = [options](Context& context) { return run(*options, context); },
      .starts_runs = true,
  };
}

}  // namespace cairn::cli
