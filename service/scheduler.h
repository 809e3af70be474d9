// Which jobs are to begin now: the whole of the daemon's judgement, and none of
// its clock, processes or files.
//
//   due moments    ..|....|....|....|....|....>  of a job's timetable
//   last run begun      ^ (answers the one before it)
//   now                               ^ the newest is due; the two before
//                                       were missed, and are made up by it
//
// A due moment is answered by one run at most, whatever the clock does. Set
// back, it comes to moments again that were answered: they stay so. Set
// forward, it has passed moments: they were missed, and one run makes up for
// all of them, or none where a job does not catch up. A run that was refused,
// since another of the job was at work, is no answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "service/timetable.h"

namespace cairn::service {

struct ScheduledJob {
  std::string name;
  Timetable timetable;
  // A run begins up to so much later than it is due: each due moment by as much
  // as chance says, and always the same for the same one.
  std::chrono::seconds jitter{0};
  bool catches_up = true;
};

// One that was there before.
struct PastRun {
  Moment began;
  // It was told to end, or killed, and what it was for may be left undone.
  bool was_cut_short = false;
};

struct Start {
  std::string job;
  Moment due;
  bool was_missed = false;  // its time had passed when it was looked at
};

// Threads        one at a time.
class Scheduler {
 public:
  // Later than this a run is late, and was missed.
  static constexpr std::chrono::seconds kPunctual{300};

  // A run that was cut short is made up for. So often for the same due moment,
  // which then counts as answered: what kills each run must not be met for
  // ever.
  static constexpr int kMostCutShort = 3;

  // After a run that was refused it is tried again: after so long first, then
  // after twice as long each time, for what was in the way may hang.
  static constexpr std::chrono::seconds kFirstPause{60};
  static constexpr std::chrono::seconds kLongestPause{6 * 3600};

  // Runs of the job, in any order; empty: none is known of. What has never run
  // was missed.
  using Past = std::function<std::vector<PastRun>(const ScheduledJob& job)>;

  // `seed`, such as the host's name, spreads hosts that have the same jobs.
  explicit Scheduler(std::string seed) : seed_(std::move(seed)) {}

  // From now on there are these. Of those that were there under the same name,
  // what was answered is known still, and what runs goes on. As before, if
  // `past` throws.
  void set_jobs(std::vector<ScheduledJob> jobs, Moment now, const Past& past);

  // What is to begin now, at most so many, the longest due first; each counts
  // as begun. A job that runs is left out until it has ended().
  [[nodiscard]] std::vector<Start> begin(Moment now, std::size_t most);
  void ended(const std::string& job);
  // Instead: it did nothing. What it was for is due still, after a pause, until
  // the next due moment takes its place.
  void refused(const std::string& job, Moment now);

  // When the next run begins, as things are: `now` where one is due. Nothing:
  // all jobs that there are run, or there are none.
  [[nodiscard]] std::optional<Moment> next(Moment now);

  // Whether begin() would leave nothing to be made up or to be waited for
  // within its jitter.
  [[nodiscard]] bool is_idle(Moment now);

 private:
  struct Refusal {
    Moment due;
    std::chrono::seconds pause;
    Moment again;  // not before
  };
  struct Entry {
    ScheduledJob job;
    Moment settled;                  // up to then, nothing is left to be done
    std::set<Moment> answered = {};  // due moments; the newest kKept
    bool is_running = false;
    // That the run answers; nothing: its timetable has changed since.
    std::optional<Moment> running_for = {};
    std::optional<Refusal> refusal = {};  // the last one

    void answer(Moment due);
    void open_again(Moment due);
  };
  static constexpr std::size_t kKept = 10'000;

  void look_at_clock(Moment now);
  [[nodiscard]] Moment begin_of(const ScheduledJob& job, Moment due) const;
  // Likewise, and not before it may be tried again.
  [[nodiscard]] Moment begin_of(const Entry& entry, Moment due) const;
  // The due moment that the next run answers, now or later.
  [[nodiscard]] Moment due_of(Entry& entry, Moment now) const;
  void take_over(Entry& entry, Moment now, const Past& past) const;

  std::string seed_;
  std::vector<Entry> entries_;
  Moment seen_ = Moment::min();  // the last `now`
};

}  // namespace cairn::service
