#include "service/scheduler.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>

#include "crypto/digest.h"

namespace cairn::service {
namespace {

using std::chrono::seconds;

std::uint64_t number_of(const std::string& text) {
  const auto digest = crypto::sha256(std::as_bytes(std::span(text)));
  std::uint64_t number = 0;
  for (const auto byte : std::span(digest).first(sizeof number)) {
    number = number << 8 | std::to_integer<std::uint64_t>(byte);
  }
  return number;
}

}  // namespace

void Scheduler::Entry::answer(Moment due) {
  answered.insert(due);
  if (answered.size() > kKept) answered.erase(answered.begin());
  settled = std::max(settled, due);
}

void Scheduler::Entry::open_again(Moment due) {
  answered.erase(due);
  settled = std::min(settled, due - seconds(1));
}

Moment Scheduler::begin_of(const ScheduledJob& job, Moment due) const {
  if (job.jitter == seconds(0)) return due;
  const auto chance = number_of(seed_ + '\0' + job.name + '\0' +
                                std::to_string(due.time_since_epoch().count()));
  return due + seconds(static_cast<std::int64_t>(
                   chance % std::uint64_t(job.jitter.count() + 1)));
}

Moment Scheduler::begin_of(const Entry& entry, Moment due) const {
  const Moment begin = begin_of(entry.job, due);
  const auto& refusal = entry.refusal;
  return refusal && refusal->due == due ? std::max(begin, refusal->again)
                                        : begin;
}

Moment Scheduler::due_of(Entry& entry, Moment now) const {
  const auto& job = entry.job;
  const Moment latest = job.timetable.last_until(now);
  if (latest > entry.settled && !entry.answered.contains(latest)) {
    const bool has_lapsed =
        !job.catches_up && now - begin_of(job, latest) > kPunctual;
    if (!has_lapsed) return latest;
  }
  // What a run answers late it answers for all before.
  entry.settled = std::max(entry.settled, latest);
  Moment next = job.timetable.next_after(now);
  while (entry.answered.contains(next)) next = job.timetable.next_after(next);
  return next;
}

// A clock that went back comes to moments that are still ahead of it, whatever
// was settled; only those that were answered stay so.
void Scheduler::look_at_clock(Moment now) {
  if (now < seen_) {
    for (auto& entry : entries_) {
      entry.settled = std::min(entry.settled, now);
      if (auto& refusal = entry.refusal) {
        refusal->again = std::min(refusal->again, now + refusal->pause);
      }
    }
  }
  seen_ = now;
}

void Scheduler::take_over(Entry& entry, Moment now, const Past& past) const {
  const auto known =
      std::ranges::find(entries_, entry.job.name,
                        [](const Entry& other) { return other.job.name; });
  if (known != entries_.end()) {
    entry.answered = known->answered;
    entry.is_running = known->is_running;
    if (known->job.timetable == entry.job.timetable) {
      entry.settled = known->settled;
      entry.running_for = known->running_for;
      entry.refusal = known->refusal;
    } else {
      // A new timetable begins now: what it would have asked for was not
      // missed.
      entry.settled = std::max(known->settled, now);
    }
    return;
  }
  std::map<Moment, int> cut_short;
  for (const auto& run : past(entry.job)) {
    const Moment due = entry.job.timetable.last_until(run.began);
    if (run.was_cut_short && ++cut_short[due] < kMostCutShort) continue;
    entry.answer(due);
  }
  entry.settled = std::min(entry.settled, now);
}

void Scheduler::set_jobs(std::vector<ScheduledJob> jobs, Moment now,
                         const Past& past) {
  look_at_clock(now);
  std::vector<Entry> entries;
  for (auto& job : jobs) {
    Entry entry{.job = std::move(job), .settled = Moment(seconds(0))};
    take_over(entry, now, past);
    entries.push_back(std::move(entry));
  }
  entries_ = std::move(entries);
}

std::vector<Start> Scheduler::begin(Moment now, std::size_t most) {
  look_at_clock(now);
  std::vector<std::pair<Moment, Entry*>> ready;
  for (auto& entry : entries_) {
    if (entry.is_running) continue;
    const Moment due = due_of(entry, now);
    if (due <= now && begin_of(entry, due) <= now) {
      ready.emplace_back(due, &entry);
    }
  }
  std::ranges::stable_sort(ready, {}, &std::pair<Moment, Entry*>::first);
  if (ready.size() > most) ready.resize(most);
  std::vector<Start> starts;
  for (const auto& [due, entry] : ready) {
    entry->answer(due);
    entry->is_running = true;
    entry->running_for = due;
    starts.push_back(
        {.job = entry->job.name,
         .due = due,
         .was_missed = now - begin_of(entry->job, due) > kPunctual});
  }
  return starts;
}

void Scheduler::ended(const std::string& job) {
  for (auto& entry : entries_) {
    if (entry.job.name == job) entry.is_running = false;
  }
}

void Scheduler::refused(const std::string& job, Moment now) {
  look_at_clock(now);
  for (auto& entry : entries_) {
    if (entry.job.name != job) continue;
    entry.is_running = false;
    if (!entry.running_for) continue;
    const Moment due = *entry.running_for;
    const bool is_first = !entry.refusal || entry.refusal->due != due;
    const seconds pause =
        is_first ? kFirstPause
                 : std::min(kLongestPause, 2 * entry.refusal->pause);
    entry.refusal = {due, pause, now + pause};
    entry.open_again(due);
  }
}

std::optional<Moment> Scheduler::next(Moment now) {
  look_at_clock(now);
  std::optional<Moment> next;
  for (auto& entry : entries_) {
    if (entry.is_running) continue;
    const Moment at = std::max(now, begin_of(entry, due_of(entry, now)));
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

bool Scheduler::is_idle(Moment now) {
  look_at_clock(now);
  return std::ranges::all_of(entries_, [&](Entry& entry) {
    return !entry.is_running && due_of(entry, now) > now;
  });
}

}  // namespace cairn::service
