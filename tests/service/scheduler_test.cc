#include "service/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "tests/support/for_each_seed.h"

namespace cairn::service {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Moments = std::vector<Moment>;

constexpr std::size_t kAll = 100;
// 2026-01-01 00:00 UTC, a Thursday
constexpr Moment kNewYear{seconds(1'767'225'600)};

ScheduledJob job(const char* name, const char* line) {
  return {.name = name, .timetable = Timetable(line, "UTC")};
}

Scheduler::Past begun(Moments moments) {
  return [moments](const ScheduledJob&) {
    std::vector<PastRun> runs;
    for (const auto moment : moments) runs.push_back({moment});
    return runs;
  };
}

Scheduler::Past cut_short(Moments moments) {
  return [moments](const ScheduledJob&) {
    std::vector<PastRun> runs;
    for (const auto moment : moments) runs.push_back({moment, true});
    return runs;
  };
}

// One hourly job that last ran at new year.
class HourlyJob : public ::testing::Test {
 protected:
  HourlyJob() {
    scheduler_.set_jobs({job("hourly", "0 * * * *")}, kNewYear,
                        begun({kNewYear}));
  }

  // The due moments of runs that begin at `now`, and end at once.
  Moments run(Moment now) {
    Moments due;
    for (const auto& start : scheduler_.begin(now, kAll)) {
      due.push_back(start.due);
      scheduler_.ended(start.job);
    }
    return due;
  }

  Scheduler scheduler_{"host"};
};

TEST_F(HourlyJob, BeginsWhenItIsDueAndOnce) {
  EXPECT_EQ(run(kNewYear + minutes(59)), Moments());
  EXPECT_EQ(scheduler_.next(kNewYear + minutes(59)), kNewYear + hours(1));
  EXPECT_EQ(run(kNewYear + hours(1)), Moments({kNewYear + hours(1)}));
  EXPECT_EQ(run(kNewYear + hours(1)), Moments());
  EXPECT_EQ(run(kNewYear + minutes(119)), Moments());
  EXPECT_EQ(scheduler_.next(kNewYear + minutes(119)), kNewYear + hours(2));
}

TEST_F(HourlyJob, MakesUpForAllThatWasMissedByOneRun) {
  const Moment woken = kNewYear + hours(30) + minutes(20);

  EXPECT_EQ(scheduler_.next(woken), woken);
  EXPECT_EQ(run(woken), Moments({kNewYear + hours(30)}));
  EXPECT_EQ(run(woken + minutes(39)), Moments());
  EXPECT_EQ(run(woken + minutes(40)), Moments({kNewYear + hours(31)}));
}

TEST_F(HourlyJob, SaysWhichRunsWereMissed) {
  EXPECT_FALSE(scheduler_.begin(kNewYear + hours(1) + minutes(4), kAll)
                   .front()
                   .was_missed);
  scheduler_.ended("hourly");
  EXPECT_TRUE(scheduler_.begin(kNewYear + hours(2) + minutes(6), kAll)
                  .front()
                  .was_missed);
}

TEST_F(HourlyJob, DoesNotAnswerADueMomentTwiceWhenTheClockGoesBack) {
  EXPECT_EQ(run(kNewYear + hours(3)), Moments({kNewYear + hours(3)}));

  const Moment back = kNewYear + hours(2) + minutes(30);
  EXPECT_EQ(run(back), Moments());
  EXPECT_EQ(scheduler_.next(back), kNewYear + hours(4));
  EXPECT_EQ(run(kNewYear + hours(3)), Moments());
  EXPECT_EQ(run(kNewYear + hours(4)), Moments({kNewYear + hours(4)}));
}

TEST_F(HourlyJob, GoesOnAtOnceAfterAClockThatWasYearsAhead) {
  EXPECT_EQ(run(kNewYear + hours(24 * 3650)).size(), 1u);

  EXPECT_EQ(run(kNewYear + minutes(10)), Moments());
  EXPECT_EQ(run(kNewYear + hours(1)), Moments({kNewYear + hours(1)}));
  EXPECT_EQ(run(kNewYear + hours(2)), Moments({kNewYear + hours(2)}));
}

TEST_F(HourlyJob, TakesAJumpForwardForMissedRuns) {
  EXPECT_EQ(run(kNewYear + hours(1)).size(), 1u);
  EXPECT_EQ(run(kNewYear + hours(100) + minutes(1)),
            Moments({kNewYear + hours(100)}));
  EXPECT_EQ(run(kNewYear + hours(100) + minutes(2)), Moments());
}

TEST_F(HourlyJob, DoesNotBeginWhileItRuns) {
  ASSERT_EQ(scheduler_.begin(kNewYear + hours(1), kAll).size(), 1u);

  EXPECT_TRUE(scheduler_.begin(kNewYear + hours(2), kAll).empty());
  EXPECT_EQ(scheduler_.next(kNewYear + hours(2)), std::nullopt);
  EXPECT_FALSE(scheduler_.is_idle(kNewYear + hours(2)));
  scheduler_.ended("hourly");
  EXPECT_EQ(run(kNewYear + hours(3) + minutes(5)),
            Moments({kNewYear + hours(3)}));
}

TEST_F(HourlyJob, TriesAgainWhatWasRefusedAfterPausesThatGrow) {
  const Moment due = kNewYear + hours(1);
  Moment now = due;
  for (const auto pause : {minutes(1), minutes(2), minutes(4), minutes(8)}) {
    ASSERT_EQ(scheduler_.begin(now, kAll).size(), 1u);
    scheduler_.refused("hourly", now);
    EXPECT_TRUE(scheduler_.begin(now + pause - seconds(1), kAll).empty());
    EXPECT_EQ(scheduler_.next(now), now + pause);
    EXPECT_FALSE(scheduler_.is_idle(now));
    now += pause;
  }
  EXPECT_EQ(run(now), Moments({due}));
  EXPECT_EQ(run(now + minutes(40)), Moments());
  EXPECT_EQ(run(due + hours(1)), Moments({due + hours(1)}));
}

TEST_F(HourlyJob, BeginsTheNextRunOnTimeThoughTheOneBeforeWasRefused) {
  for (const auto at : {60, 61, 63, 67, 75, 91}) {
    ASSERT_EQ(scheduler_.begin(kNewYear + minutes(at), kAll).size(), 1u) << at;
    scheduler_.refused("hourly", kNewYear + minutes(at));
  }
  EXPECT_EQ(run(kNewYear + minutes(119)), Moments());
  EXPECT_EQ(run(kNewYear + hours(2)), Moments({kNewYear + hours(2)}));
  EXPECT_EQ(run(kNewYear + hours(2) + minutes(50)), Moments());
}

TEST_F(HourlyJob, RemembersThatItWasRefusedWhenTheFileIsReadAgain) {
  ASSERT_EQ(scheduler_.begin(kNewYear + hours(1), kAll).size(), 1u);
  scheduler_.refused("hourly", kNewYear + hours(1));
  scheduler_.set_jobs({job("hourly", "0 * * * *")}, kNewYear + minutes(60),
                      begun({}));
  EXPECT_EQ(run(kNewYear + minutes(60)), Moments());
  ASSERT_EQ(scheduler_.begin(kNewYear + minutes(61), kAll).size(), 1u);

  scheduler_.set_jobs({job("hourly", "0 9 * * *")}, kNewYear + minutes(62),
                      begun({}));
  scheduler_.refused("hourly", kNewYear + minutes(62));
  EXPECT_EQ(scheduler_.next(kNewYear + minutes(62)), kNewYear + hours(9));
}

TEST_F(HourlyJob, KeepsWhatItKnowsWhenTheFileIsReadAgain) {
  EXPECT_EQ(run(kNewYear + hours(1)).size(), 1u);

  scheduler_.set_jobs({job("hourly", "0 * * * *")}, kNewYear + minutes(61),
                      begun({}));

  EXPECT_EQ(run(kNewYear + minutes(61)), Moments());
  EXPECT_EQ(run(kNewYear + hours(2)), Moments({kNewYear + hours(2)}));
}

TEST_F(HourlyJob, BeginsANewTimetableFromNowOn) {
  const Moment noon = kNewYear + hours(12);
  scheduler_.set_jobs({job("hourly", "0 9 * * *")}, noon, begun({}));

  EXPECT_EQ(run(noon), Moments());
  EXPECT_EQ(scheduler_.next(noon), kNewYear + hours(33));
}

TEST(Scheduler, TakesWhatNeverRanForMissed) {
  Scheduler scheduler("host");
  scheduler.set_jobs({job("nightly", "0 2 * * *")}, kNewYear + hours(12),
                     begun({}));

  const auto starts = scheduler.begin(kNewYear + hours(12), kAll);
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0].due, kNewYear + hours(2));
  EXPECT_TRUE(starts[0].was_missed);
}

TEST(Scheduler, DoesNotRepeatAfterItsOwnRestartWhatWasRunBefore) {
  Scheduler scheduler("host");
  // The clock has gone back since the second run.
  scheduler.set_jobs({job("nightly", "0 2 * * *")}, kNewYear + hours(12),
                     begun({kNewYear + hours(2), kNewYear + hours(26)}));

  EXPECT_TRUE(scheduler.begin(kNewYear + hours(12), kAll).empty());
  EXPECT_TRUE(scheduler.begin(kNewYear + hours(26), kAll).empty());
  EXPECT_EQ(scheduler.begin(kNewYear + hours(50), kAll).size(), 1u);
}

TEST(Scheduler, MakesUpForARunThatWasCutShort) {
  Scheduler scheduler("host");
  scheduler.set_jobs({job("nightly", "0 2 * * *")}, kNewYear + hours(3),
                     cut_short({kNewYear + hours(2)}));

  const auto starts = scheduler.begin(kNewYear + hours(3), kAll);
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0].due, kNewYear + hours(2));
}

TEST(Scheduler, GivesUpAMomentWhoseRunsAreAlwaysCutShort) {
  const Moments begins = {kNewYear + hours(2), kNewYear + hours(3),
                          kNewYear + hours(4)};
  Scheduler scheduler("host");
  scheduler.set_jobs({job("nightly", "0 2 * * *")}, kNewYear + hours(5),
                     cut_short(begins));

  EXPECT_TRUE(scheduler.begin(kNewYear + hours(5), kAll).empty());
  EXPECT_EQ(scheduler.begin(kNewYear + hours(26), kAll).size(), 1u);

  // Each moment has its own number of them.
  Scheduler next_night("host");
  next_night.set_jobs(
      {job("nightly", "0 2 * * *")}, kNewYear + hours(27),
      cut_short({begins[0], begins[1], begins[2], kNewYear + hours(26)}));
  EXPECT_EQ(next_night.begin(kNewYear + hours(27), kAll).size(), 1u);
}

TEST_F(HourlyJob, StaysAsItWasWhenWhatRanCannotBeKnown) {
  EXPECT_THROW(
      scheduler_.set_jobs({job("other", "0 * * * *")}, kNewYear + minutes(30),
                          [](const ScheduledJob&) -> std::vector<PastRun> {
                            throw std::runtime_error("no");
                          }),
      std::runtime_error);

  EXPECT_EQ(run(kNewYear + hours(1)), Moments({kNewYear + hours(1)}));
}

TEST(Scheduler, LetsAMissedRunGoWhereAJobDoesNotCatchUp) {
  Scheduler scheduler("host");
  auto nightly = job("nightly", "0 2 * * *");
  nightly.catches_up = false;
  scheduler.set_jobs({nightly}, kNewYear, begun({}));

  EXPECT_TRUE(scheduler.begin(kNewYear + hours(2) + minutes(6), kAll).empty());
  EXPECT_EQ(scheduler.next(kNewYear + hours(3)), kNewYear + hours(26));
  EXPECT_EQ(scheduler.begin(kNewYear + hours(26) + minutes(1), kAll).size(),
            1u);
}

TEST(Scheduler, BeginsTheLongestDueFirstAndNoMoreThanThereIsRoomFor) {
  Scheduler scheduler("host");
  scheduler.set_jobs({job("b", "5 * * * *"), job("a", "0 * * * *")}, kNewYear,
                     begun({kNewYear}));
  const Moment now = kNewYear + minutes(66);

  const auto first = scheduler.begin(now, 1);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].job, "a");
  const auto second = scheduler.begin(now, 1);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].job, "b");
  EXPECT_TRUE(scheduler.begin(now, 0).empty());
}

TEST(Scheduler, SpreadsRunsWithinTheirJitter) {
  std::map<seconds, int> delays;
  for (int host = 0; host < 200; ++host) {
    Scheduler scheduler("host" + std::to_string(host));
    auto nightly = job("nightly", "0 2 * * *");
    nightly.jitter = minutes(3);
    scheduler.set_jobs({nightly}, kNewYear, begun({kNewYear}));

    const Moment due = kNewYear + hours(2);
    const Moment begin = *scheduler.next(kNewYear + hours(1));
    ASSERT_GE(begin, due);
    ASSERT_LE(begin, due + minutes(3));
    ++delays[begin - due];
    if (begin > due) {
      ASSERT_TRUE(scheduler.begin(begin - seconds(1), kAll).empty());
      ASSERT_FALSE(begin - seconds(1) >= due &&
                   scheduler.is_idle(begin - seconds(1)));
    }
    ASSERT_EQ(scheduler.begin(begin, kAll).size(), 1u);
  }
  EXPECT_GT(delays.size(), 60u);
}

// Whatever the clock does: no due moment is answered twice, and one that is
// passed while it runs evenly is answered.
TEST(Scheduler, AnswersNoDueMomentTwiceWhateverTheClockDoes) {
  testing_support::for_each_seed(40, [](std::mt19937_64& random) {
    const auto chance = [&](int last) {
      return std::uniform_int_distribution<int>(0, last)(random);
    };
    Scheduler scheduler("host");
    auto regular = job("job", chance(1) == 0 ? "*/20 * * * *" : "0 */2 * * *");
    regular.jitter = seconds(chance(1) * 240);
    scheduler.set_jobs({regular}, kNewYear, begun({kNewYear}));
    std::map<Moment, int> answers;
    Moment now = kNewYear;
    for (int step = 0; step < 3000; ++step) {
      const int kind = chance(99);
      now += kind == 0   ? -minutes(chance(600))
             : kind == 1 ? minutes(chance(600))
                         : seconds(chance(60));
      for (const auto& start : scheduler.begin(now, kAll)) {
        ASSERT_LE(start.due, now);
        ASSERT_EQ(++answers[start.due], 1);
        scheduler.ended(start.job);
      }
      const auto next = scheduler.next(now);
      ASSERT_TRUE(next);
      ASSERT_GT(*next, now);
    }
    ASSERT_GT(answers.size(), 3u);
  });
}

}  // namespace
}  // namespace cairn::service
