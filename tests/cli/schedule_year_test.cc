// A year of each plan of docs/examples on a clock of paper, in Berlin: nights
// in which an hour is missing or there twice, hours in which the machine is
// off, sources that fail, and a full disk. What is left at its end is held
// against the plans' own words, told again here, by the C library's calendar.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "cli/config/configuration.h"
#include "repo/retention.h"
#include "service/scheduler.h"
#include "tests/service/wall_clock.h"
#include "tests/support/for_each_seed.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using service::Moment;
using service::RandomLine;
using service::WallClock;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Moments = std::set<Moment>;

constexpr const char* kZone = "Europe/Berlin";
constexpr Moment kStart{seconds(1'767'222'000)};  // 2026 begins in Berlin
constexpr Moment kEnd{seconds(1'798'758'000)};    // and ends

// ---- the plans, in their own words

std::tm wall(Moment moment) {
  return WallClock::at(moment.time_since_epoch().count());
}

using Period = std::function<std::string(Moment)>;

std::string shown(Moment moment, const char* format) {
  const std::tm parts = wall(moment);
  char text[64];
  (void)std::strftime(text, sizeof text, format, &parts);
  return text;
}
Period by(const char* format) {
  return [format](Moment moment) { return shown(moment, format); };
}
const Period kHour = by("%Y-%m-%d %H");
const Period kDay = by("%Y-%m-%d");
const Period kWeek = by("%G-W%V");
const Period kMonth = by("%Y-%m");

bool is_sunday(Moment moment) { return wall(moment).tm_wday == 0; }

// The last of each of the newest `count` periods.
Moments last_of(const Moments& runs, const Period& period, std::size_t count) {
  std::map<std::string, Moment> last;
  for (const auto run : runs) last[period(run)] = run;
  Moments kept;
  for (auto it = last.rbegin(); it != last.rend() && kept.size() < count;
       ++it) {
    kept.insert(it->second);
  }
  return kept;
}

// The first Sunday's of each, or the first where no Sunday had any.
Moments first_sundays(const Moments& runs, const Period& period,
                      std::size_t count) {
  std::map<std::string, Moment> first;
  for (const auto run : runs) {
    const auto [at, is_new] = first.try_emplace(period(run), run);
    if (!is_new && is_sunday(run) && !is_sunday(at->second)) at->second = run;
  }
  Moments kept;
  for (auto it = first.rbegin(); it != first.rend() && kept.size() < count;
       ++it) {
    kept.insert(it->second);
  }
  return kept;
}

Moments first_of(const Moments& runs, const Period& period, std::size_t count) {
  std::map<std::string, Moment> first;
  for (const auto run : runs) first.try_emplace(period(run), run);
  Moments kept;
  for (auto it = first.rbegin(); it != first.rend() && kept.size() < count;
       ++it) {
    kept.insert(it->second);
  }
  return kept;
}

// What a job has saved so far.
struct Saved {
  Moments complete;
  Moments all;  // those that are not, too
};

// By the calendar: younger than the same time of the day so many days before
// the newest complete one; also what is not complete.
Moments of_last_days(const Saved& saved, int days) {
  if (saved.complete.empty()) return saved.all;
  std::tm parts = wall(*saved.complete.rbegin());
  parts.tm_mday -= days;
  parts.tm_isdst = -1;
  const Moment first{seconds(std::mktime(&parts))};
  return {saved.all.upper_bound(first), saved.all.end()};
}

Moments operator+(Moments a, const Moments& b) {
  a.insert(b.begin(), b.end());
  return a;
}

std::set<int> up_to(int first, int last) {
  std::set<int> values;
  for (int value = first; value <= last; ++value) values.insert(value);
  return values;
}

RandomLine at(std::set<int> hours_of_day, std::set<int> days,
              std::set<int> weekdays) {
  RandomLine line;
  line.begins_with_star = {false, hours_of_day.size() == 24, days.size() == 31,
                           true, weekdays.size() == 7};
  line.values = {std::set<int>{0}, std::move(hours_of_day), std::move(days),
                 up_to(1, 12), std::move(weekdays)};
  return line;
}
const RandomLine kHourly = at(up_to(0, 23), up_to(1, 31), up_to(0, 6));
const RandomLine kDaily = at({2}, up_to(1, 31), up_to(0, 6));
const RandomLine kSundaysAt3 = at({3}, up_to(1, 31), {0});
const RandomLine kSundaysAt4 = at({4}, up_to(1, 31), {0});
const RandomLine kFirstsAt4 = at({4}, {1}, up_to(0, 6));

struct Plan {
  const char* file;
  const char* job;
  const RandomLine& due;
  std::function<Moments(const Saved& saved)> keeps;
};

const std::vector<Plan>& plans() {
  static const std::vector<Plan> all = {
      // "daily backups for one week, weekly backups for one month, and monthly
      // backups for one year"
      {"letta", "daily", kDaily,
       [](const Saved& saved) {
         return last_of(saved.complete, kDay, 7) +
                last_of(saved.complete, kWeek, 4) +
                last_of(saved.complete, kMonth, 12);
       }},
      // "Hourly backups for the past 24 hours, daily for the past 7 days,
      // weekly
      // for the past 4 weeks, monthly for the past 6 months"
      {"letta-disaster-recovery", "hourly", kHourly,
       [](const Saved& saved) {
         return last_of(saved.complete, kHour, 24) +
                last_of(saved.complete, kDay, 7) +
                last_of(saved.complete, kWeek, 4) +
                last_of(saved.complete, kMonth, 6);
       }},
      // "--frequency hourly --retention 7", and so on
      {"pa-ecosystem", "hourly", kHourly,
       [](const Saved& saved) { return of_last_days(saved, 7); }},
      {"pa-ecosystem", "daily", kDaily,
       [](const Saved& saved) { return of_last_days(saved, 30); }},
      {"pa-ecosystem", "weekly", kSundaysAt3,
       [](const Saved& saved) { return of_last_days(saved, 90); }},
      {"pa-ecosystem", "monthly", kFirstsAt4,
       [](const Saved& saved) { return of_last_days(saved, 365); }},
      // "Daily backups: keep for 7 days; weekly: keep Sunday backups for 4
      // weeks; monthly: keep first Sunday backup for 12 months"
      {"temponest", "daily", kDaily,
       [](const Saved& saved) {
         return first_of(saved.complete, kDay, 7) +
                first_sundays(saved.complete, kWeek, 4) +
                first_sundays(saved.complete, kMonth, 12);
       }},
      {"temponest", "base", kSundaysAt4,
       [](const Saved& saved) { return last_of(saved.complete, kWeek, 4); }},
      // "Hourly: retained for 24 hours", "daily: 7 days", "weekly: 4 weeks",
      // "monthly: 1 year"
      {"somaagent", "hourly", kHourly,
       [](const Saved& saved) { return last_of(saved.complete, kHour, 24); }},
      {"somaagent", "daily", kDaily,
       [](const Saved& saved) { return last_of(saved.complete, kDay, 7); }},
      {"somaagent", "weekly", kSundaysAt3,
       [](const Saved& saved) { return last_of(saved.complete, kWeek, 4); }},
      {"somaagent", "monthly", kFirstsAt4,
       [](const Saved& saved) { return last_of(saved.complete, kMonth, 12); }}};
  return all;
}

// ---- the year

enum class Outcome { complete, partial, no_space };

struct Outage {
  Moment from;
  Moment until;
};

// What befalls the machine.
struct Fortune {
  std::uint64_t seed = 0;
  std::vector<Outage> outages;

  explicit Fortune(std::mt19937_64& random) : seed(random()) {
    Moment at = kStart;
    for (;;) {
      at += hours(service::pick(random, 100, 600));
      const Moment until = at + minutes(service::pick(random, 1, 3000));
      if (until >= kEnd) return;
      outages.push_back({at, until});
      at = until;
    }
  }

  [[nodiscard]] Outcome outcome(const std::string& job, Moment at) const {
    std::mt19937_64 random(
        seed ^ std::hash<std::string>()(job) ^
        static_cast<std::uint64_t>(at.time_since_epoch().count()));
    const int chance = service::pick(random, 0, 99);
    return chance < 4   ? Outcome::partial
           : chance < 7 ? Outcome::no_space
                        : Outcome::complete;
  }

  [[nodiscard]] Moment when_it_runs(Moment at) const {
    for (const auto& outage : outages) {
      if (outage.from <= at && at < outage.until) return outage.until;
    }
    return at;
  }
};

// The runs that there have to be: each at its time, and one for all that were
// missed in an outage.
Moments runs_due(const Plan& plan, const Fortune& fortune) {
  static std::map<const RandomLine*, std::vector<Moment>> cache;
  auto& due = cache[&plan.due];
  if (due.empty()) due = WallClock(kZone).due(plan.due, kStart, kEnd);
  Moments runs;
  for (const auto moment : due) runs.insert(fortune.when_it_runs(moment));
  return runs;
}

Moments expected_of(const Plan& plan, const Fortune& fortune) {
  Saved saved;
  Moments since;  // incomplete, and no complete one has followed
  for (const auto run : runs_due(plan, fortune)) {
    switch (fortune.outcome(plan.job, run)) {
      case Outcome::complete:
        saved.complete.insert(run);
        saved.all.insert(run);
        since.clear();
        break;
      case Outcome::partial:
        since.insert(run);
        saved.all.insert(run);
        break;
      case Outcome::no_space:
        break;
    }
  }
  return plan.keeps(saved) + since;
}

config::Configuration example(const std::string& name) {
  std::ifstream in(fs::path(CAIRN_DOCS_DIR) / "examples" / (name + ".yaml"));
  std::ostringstream read;
  read << in.rdbuf();
  std::string text = read.str();
  if (const auto at = text.find("time_zone: UTC"); at != text.npos) {
    text.replace(at, 14, "time_zone: Europe/Berlin");
  }
  config::Mistakes mistakes;
  auto made = config::read_configuration(text, name, {"vm", kZone}, mistakes);
  if (!made) throw std::runtime_error(name + " has mistakes");
  return std::move(*made);
}

// What the program makes of it: its scheduler, and its rules.
class Machine {
 public:
  Machine(const config::Configuration& all, const Fortune& fortune)
      : all_(all), fortune_(fortune) {}

  void live() {
    service::Scheduler scheduler(all_.host);
    std::vector<service::ScheduledJob> jobs;
    for (const auto& job : all_.jobs) {
      jobs.push_back({.name = job.name, .timetable = job.schedule->timetable});
    }
    scheduler.set_jobs(jobs, kStart - seconds(1), [](const auto&) {
      return std::vector{service::PastRun{kStart - seconds(1)}};
    });
    Moment now = kStart - seconds(1);
    while (true) {
      now = fortune_.when_it_runs(*scheduler.next(now));
      if (now >= kEnd) return;
      constexpr std::size_t kAll = 100;
      for (const auto& start : scheduler.begin(now, kAll)) {
        run(*all_.job(start.job), now);
        scheduler.ended(start.job);
      }
    }
  }

  [[nodiscard]] Moments left_of(const std::string& job) {
    Moments moments;
    for (const auto& one : snapshots_[job]) {
      moments.insert(Moment(seconds(one.time.seconds)));
    }
    return moments;
  }

 private:
  void run(const config::Job& job, Moment now) {
    auto& all = snapshots_[job.name];
    const auto outcome = fortune_.outcome(job.name, now);
    if (outcome == Outcome::no_space) return;
    repo::Candidate made;
    made.id = std::to_string(++count_);
    made.series = job.series;
    made.time = {now.time_since_epoch().count(), 0};
    made.arrival = made.time;
    made.is_complete = outcome == Outcome::complete;
    all.push_back(made);
    if (!made.is_complete) return;  // nothing is forgotten then
    std::vector<repo::Candidate> left;
    for (const auto& verdict :
         repo::apply_retention(all, all_.policy(*job.policy)->rules)) {
      if (!verdict.reasons.empty()) left.push_back(all[verdict.candidate]);
    }
    all = std::move(left);
  }

  const config::Configuration& all_;
  const Fortune& fortune_;
  std::map<std::string, std::vector<repo::Candidate>> snapshots_;
  std::uint64_t count_ = 0;
};

std::string text_of(const Moments& moments) {
  std::string text;
  for (const auto moment : moments) {
    text += shown(moment, "%Y-%m-%d %H:%M %z %a\n");
  }
  return text;
}

TEST(ScheduleOfAYear, LeavesWhatEachPlanSays) {
  testing_support::for_each_seed(4, [](std::mt19937_64& random) {
    const Fortune fortune(random);
    const WallClock clock(kZone);
    std::map<std::string, config::Configuration> files;
    std::map<std::string, Machine> machines;
    for (const auto& plan : plans()) {
      if (files.contains(plan.file)) continue;
      const auto& all = files.emplace(plan.file, example(plan.file)).first;
      machines.emplace(plan.file, Machine(all->second, fortune))
          .first->second.live();
    }
    for (const auto& plan : plans()) {
      SCOPED_TRACE(std::string(plan.file) + ", job " + plan.job);
      const auto left = machines.at(plan.file).left_of(plan.job);
      EXPECT_EQ(text_of(left), text_of(expected_of(plan, fortune)));
      EXPECT_GE(left.size(), 4u);
    }
  });
}

}  // namespace
}  // namespace cairn::cli
