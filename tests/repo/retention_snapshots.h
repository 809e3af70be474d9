// Snapshots by their times, and what a policy leaves of them: the words in
// which the tests of retention speak.
#pragma once

#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "repo/retention.h"

namespace cairn::repo::retention_test {

using Texts = std::vector<std::string>;
using Snapshots = std::vector<Candidate>;

// "2026-11-20 14:30" or "2026-11-20", UTC.
inline Timestamp utc(const std::string& text) {
  using namespace std::chrono;
  int y = 0, hour = 0, minute = 0;
  unsigned m = 0, d = 0;
  std::sscanf(text.c_str(), "%d-%u-%u %d:%d", &y, &m, &d, &hour, &minute);
  const sys_seconds time = sys_days{year(y) / month(m) / day(d)} +
                           std::chrono::hours(hour) +
                           std::chrono::minutes(minute);
  return Timestamp{time.time_since_epoch().count(), 0};
}

inline std::string text_of(const Timestamp& time) {
  using namespace std::chrono;
  const sys_seconds instant{seconds(time.seconds)};
  const sys_days date = floor<days>(instant);
  const year_month_day ymd{date};
  const hh_mm_ss clock{instant - date};
  char text[32];
  std::snprintf(
      text, sizeof text, "%04d-%02u-%02u %02d:%02d",
      static_cast<int>(ymd.year()), static_cast<unsigned>(ymd.month()),
      static_cast<unsigned>(ymd.day()), static_cast<int>(clock.hours().count()),
      static_cast<int>(clock.minutes().count()));
  return text;
}

inline Timestamp later(const Timestamp& time, std::chrono::seconds by) {
  return Timestamp{time.seconds + by.count(), time.nanoseconds};
}

// A complete snapshot that arrived ten minutes after the time it is of.
inline Candidate snapshot_at(const Timestamp& time) {
  Candidate snapshot;
  snapshot.id = text_of(time);
  snapshot.series = "host/db";
  snapshot.time = time;
  snapshot.arrival = later(time, std::chrono::minutes(10));
  return snapshot;
}

inline Snapshots snapshots_at(const Texts& times) {
  Snapshots snapshots;
  for (const std::string& time : times) {
    snapshots.push_back(snapshot_at(utc(time)));
  }
  return snapshots;
}

// One every `step`, first and last included.
inline Snapshots every(std::chrono::seconds step, const std::string& first,
                       const std::string& last) {
  Snapshots snapshots;
  for (Timestamp time = utc(first); time <= utc(last);
       time = later(time, step)) {
    snapshots.push_back(snapshot_at(time));
  }
  return snapshots;
}

inline Snapshots kept_of(const Snapshots& snapshots,
                         const RetentionPolicy& policy) {
  Snapshots kept;
  for (const Verdict& verdict : apply_retention(snapshots, policy)) {
    if (!verdict.reasons.empty()) kept.push_back(snapshots[verdict.candidate]);
  }
  return kept;
}

inline Texts ids_of(const Snapshots& snapshots) {
  Texts ids;
  for (const Candidate& snapshot : snapshots) ids.push_back(snapshot.id);
  return ids;
}

inline Texts kept(const Snapshots& snapshots, const RetentionPolicy& policy) {
  return ids_of(kept_of(snapshots, policy));
}

inline std::map<std::string, Verdict> verdict_of_each(
    const Snapshots& snapshots, const RetentionPolicy& policy) {
  std::map<std::string, Verdict> verdicts;
  for (Verdict& verdict : apply_retention(snapshots, policy)) {
    verdicts[snapshots[verdict.candidate].id] = std::move(verdict);
  }
  return verdicts;
}

// Dates at one time of the day, newest first.
inline Texts at(const std::string& clock, const Texts& dates) {
  Texts times;
  for (std::string date : dates) times.push_back(date.append(" ") += clock);
  return times;
}

// What is there after a year in which forget ran after every backup.
inline Snapshots after_forgetting_each_time(const Snapshots& made,
                                            const RetentionPolicy& policy) {
  Snapshots present;
  for (const Candidate& snapshot : made) {
    present.push_back(snapshot);
    present = kept_of(present, policy);
  }
  return present;
}

}  // namespace cairn::repo::retention_test
