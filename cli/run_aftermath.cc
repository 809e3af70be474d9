#include "cli/run_aftermath.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "cli/alert_delivery.h"
#include "cli/failure.h"
#include "cli/json.h"
#include "cli/prometheus_text.h"
#include "cli/question.h"
#include "cli/snapshot_text.h"
#include "cli/status_report.h"
#include "cli/time_text.h"
#include "repo/error.h"
#include "service/alert_state.h"

namespace cairn::cli {
namespace {

using service::AlertEvent;
using service::JobRun;
using service::RunOutcome;

RunOutcome outcome_of(ExitCode code) {
  switch (code) {
    case ExitCode::ok:
      return RunOutcome::complete;
    case ExitCode::partial:
      return RunOutcome::partial;
    case ExitCode::hung_up:
    case ExitCode::interrupted:
    case ExitCode::terminated:
      return RunOutcome::interrupted;
    default:
      return RunOutcome::failed;
  }
}

// The boundary of one thing that follows: whatever keeps it from being done is
// a warning, and the rest is done.
template <typename Step>
void attempt(std::string_view what, Context& context, const Step& step) {
  try {
    step();
  } catch (const std::exception& e) {
    context.output.warning(std::string(what) + ": " + e.what());
  }
}

constexpr std::string_view kNotRemembered =
    "who is told of the run is not remembered, and may be told again";

std::string first_problem(const JobRun& run) {
  for (const auto& source : run.sources) {
    if (source.outcome == RunOutcome::complete) continue;
    return source.name + ": " + source.message;
  }
  return "";
}

// What is told of it; docs/monitoring/README.md has the fields.
std::string body_of(AlertEvent::Kind kind, const std::string& id,
                    const JobRun& run, const RunOfJob& which,
                    const std::string& place, const repo::Timestamp& now) {
  constexpr std::size_t kMostSources = 50;
  Json sources = Json::array();
  std::size_t count = 0;
  for (const auto& source : run.sources) {
    if (source.outcome == RunOutcome::complete || ++count > kMostSources) {
      continue;
    }
    Json json = Json::object();
    json.set("name", source.name)
        .set("outcome", name_of(source.outcome))
        .set("message", source.message);
    sources.add(std::move(json));
  }
  Json json = Json::line(name_of(kind), now);
  json.set("id", id)
      .set("host", which.configuration.host)
      .set("job", which.job.name)
      .set("series", which.series)
      .set("repository", place)
      .set("began", timestamp_of(run.began))
      .set("ended", timestamp_of(run.ended))
      .set("outcome", name_of(run.outcome))
      .set("exit_code", run.exit_code)
      .set("message", run.message)
      .set("sources", std::move(sources))
      .set("program", kProgram);
  run.snapshot ? json.set("snapshot_id", *run.snapshot)
               : json.set("snapshot_id", nullptr);
  return json.text();
}

// What this process has not tried to tell: each event once, and a channel up to
// the first that fails, since the run waits once for who does not answer.
class Untried {
 public:
  explicit Untried(const std::vector<std::string>& channels)
      : channels_(channels) {}

  // Of those pending, and whom to tell. Nothing: it has tried all.
  [[nodiscard]] std::optional<std::pair<AlertEvent, std::string>> next(
      const std::vector<AlertEvent>& pending) const {
    for (const auto& channel : channels_) {
      if (given_up_.contains(channel)) continue;
      for (const auto& event : pending) {
        const bool knows =
            std::ranges::find(event.channels, channel) == event.channels.end();
        if (!knows && !tried_.contains({event.id, channel})) {
          return std::pair(event, channel);
        }
      }
    }
    return std::nullopt;
  }

  void try_now(const AlertEvent& event, const std::string& channel) {
    tried_.emplace(event.id, channel);
  }
  void give_up(const std::string& channel) { given_up_.insert(channel); }

 private:
  const std::vector<std::string>& channels_;
  std::set<std::string> given_up_;
  std::set<std::pair<std::string, std::string>> tried_;  // ids, channels
};

class Aftermath {
 public:
  Aftermath(const RunOfJob& which, Context& context)
      : which_(which), context_(context), place_(context.repo_name()) {}

  void begin(Moment began) {
    tell_of_lost_run();
    attempt("the begin of the run is not in the log", context_,
            [&] { log().begin(began); });
  }

  void tell_of_lost_run() {
    std::optional<Moment> lost;
    attempt("the log of runs", context_, [&] {
      const auto known = log();
      (void)known.read();
      lost = known.unfinished();
    });
    if (!lost) return;
    const auto run = service::lost_run(*lost);
    context_.output.warning("the run of " + which_.series + " of " +
                            local_time_text(timestamp_of(*lost)) + ": " +
                            run.message);
    put_into_log(run);
    tell(run);
  }

  void follow(const RunNotes& notes) {
    put_into_log(notes.run);
    if (const auto& file = which_.configuration.monitoring.textfile) {
      attempt("metrics were not written", context_,
              [&] { write_metrics(*file, notes); });
    }
    tell(notes.run);
  }

 private:
  [[nodiscard]] service::RunLog log() const {
    return {host_folders().state, place_, which_.series};
  }

  void put_into_log(const JobRun& run) {
    attempt("the run is not in the log", context_, [&] { log().append(run); });
  }

  void tell(const JobRun& run) {
    const auto channels = channels_of(which_.configuration.monitoring);
    if (channels.empty()) return;
    attempt("nobody was told of the run", context_,
            [&] { alert(run, channels); });
  }

  void write_metrics(const std::string& file, const RunNotes& notes) {
    const MetRepository met{
        .configured = which_.configuration.repository(which_.job.repository),
        .place = place_,
        .opened = notes.repository};
    write_prometheus_file(
        file, report_after_run(met, which_.configuration, context_));
  }

  void alert(const JobRun& run, const std::vector<std::string>& channels) {
    service::AlertState state(host_folders().state, place_, which_.series);
    const auto read_log = [&] {
      std::vector<JobRun> runs;
      attempt("the log of runs", context_, [&] { runs = log().read(); });
      return runs;
    };
    const auto make_body = [&](AlertEvent::Kind kind, const std::string& id,
                               const JobRun& of) {
      return body_of(kind, id, of, which_, place_, context_.now());
    };
    attempt(kNotRemembered, context_,
            [&] { state.note_run(run, read_log, channels, make_body); });
    // Whoever stopped it does not want to wait.
    if (run.outcome == RunOutcome::interrupted) return;
    Untried untried(channels);
    while (untried.next(state.pending())) {
      if (!tell_in_turn(untried, state)) return;
      // What others left to this process while it had the turn.
      attempt(kNotRemembered, context_, [&] { state.look_again(); });
    }
  }

  // False: it is the turn of another process, which tells it all.
  bool tell_in_turn(Untried& untried, service::AlertState& state) {
    std::optional<ingest::UniqueFd> turn;
    bool is_of_another = false;
    attempt(kNotRemembered, context_, [&] {
      turn = state.take_turn();
      is_of_another = !turn;
    });
    if (is_of_another) return false;
    while (const auto next = untried.next(state.pending())) {
      const auto& [event, channel] = *next;
      untried.try_now(event, channel);
      if (!reach(event, channel, state)) untried.give_up(channel);
    }
    return true;
  }

  bool reach(const AlertEvent& event, const std::string& channel,
             service::AlertState& state) {
    const auto why = deliver(channel, event.body,
                             which_.configuration.monitoring, context_.output);
    if (why.empty()) {
      attempt(kNotRemembered, context_,
              [&] { state.delivered(event.id, channel); });
      return true;
    }
    context_.output.warning("monitoring." + channel + ": " + why +
                            "; it is told again after the next run");
    return false;
  }

  const RunOfJob& which_;
  Context& context_;
  const std::string place_;
};

}  // namespace

void RunNotes::saved(
    const ingest::BackupReport& report,
    const std::function<std::optional<double>(const std::string&)>&
        seconds_of) {
  if (report.snapshot) run.snapshot = report.snapshot->hex();
  run.bytes_read = report.bytes_read;
  run.bytes_new = report.bytes_stored;
  for (const auto& source : report.sources) {
    run.sources.push_back({.name = source.name,
                           .outcome = service::outcome_of(source.status),
                           .bytes = source.bytes,
                           .seconds = seconds_of(source.name),
                           .message = source.message});
  }
}

void tell_of_lost_run(const RunOfJob& which, Context& context) {
  Aftermath(which, context).tell_of_lost_run();
}

ExitCode with_aftermath(const RunOfJob& which, Context& context,
                        const RunSteps& steps) {
  Aftermath aftermath(which, context);
  RunNotes notes;
  notes.run.began = moment_of(context.now());
  const auto ended = [&](ExitCode code) {
    notes.run.ended = moment_of(context.now());
    notes.run.exit_code = static_cast<int>(code);
    notes.run.outcome = outcome_of(code);
    if (code != ExitCode::ok && notes.run.message.empty()) {
      notes.run.message = first_problem(notes.run);
    }
    aftermath.follow(notes);
  };
  ExitCode code = ExitCode::ok;
  bool has_lock = false;
  try {
    steps.take_lock();
    has_lock = true;
    steps.look(notes);
    notes.run.began = moment_of(context.now());  // it may have waited
    aftermath.begin(notes.run.began);
    code = steps.work(notes);
  } catch (const NoRun&) {
    throw;
  } catch (const std::exception& e) {
    const auto failure = failure_of(e, context.repo_in_use());
    notes.run.was_refused = !has_lock && failure.code == ExitCode::locked;
    if (notes.run.was_refused && can_ask()) throw;
    notes.run.message = failure.message;
    ended(failure.code);
    throw;
  } catch (const OutputClosed&) {
    notes.run.message = "whoever read its output has gone away";
    ended(ExitCode::failed);
    throw;
  }
  ended(code);
  return code;
}

}  // namespace cairn::cli
