#include "service/alert_state.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "repo/error.h"
#include "tests/support/temp_folder.h"

namespace cairn::service {
namespace {

using testing_support::TempFolder;
using testing_support::write_file;
using Kind = AlertEvent::Kind;

const std::vector<std::string> kWebhook = {"webhook"};

JobRun run_at(std::int64_t began, RunOutcome outcome) {
  JobRun run;
  run.began = Moment(std::chrono::seconds(began));
  run.ended = run.began;
  run.outcome = outcome;
  return run;
}

class AlertStateTest : public ::testing::Test {
 protected:
  [[nodiscard]] AlertState state() const {
    AlertState state(folder_.path(), "r", "s");
    state.read();
    return state;
  }

  // As a run does that ends, but tells nobody.
  void ends(RunOutcome outcome) {
    runs_.push_back(run_at(++clock_, outcome));
    note();
  }
  void note() const {
    auto now = state();
    note_last(now);
  }
  void note_last(AlertState& now,
                 const std::vector<std::string>& channels = kWebhook) const {
    now.note_run(
        runs_.back(), [&] { return runs_; }, channels,
        [](Kind, const std::string&, const JobRun& run) {
          return std::to_string(run.began.time_since_epoch().count());
        });
  }
  // Tells all that is pending; what that was.
  [[nodiscard]] std::vector<Kind> tell() const {
    std::vector<Kind> told;
    auto now = state();
    const auto pending = now.pending();
    for (const auto& event : pending) {
      told.push_back(event.kind);
      now.delivered(event.id, "webhook");
    }
    return told;
  }

  TempFolder folder_;
  std::vector<JobRun> runs_;
  std::int64_t clock_ = 1'700'000'000;
};

TEST_F(AlertStateTest, TellsOnceOfThreeFailuresAndOnceOfTheRecovery) {
  std::vector<Kind> told;
  for (const auto outcome :
       {RunOutcome::complete, RunOutcome::failed, RunOutcome::partial,
        RunOutcome::failed, RunOutcome::complete, RunOutcome::complete}) {
    ends(outcome);
    for (const auto kind : tell()) told.push_back(kind);
  }
  EXPECT_EQ(told, (std::vector{Kind::failure, Kind::recovery}));
}

TEST_F(AlertStateTest, KeepsWhatCouldNotBeTold) {
  ends(RunOutcome::failed);
  ends(RunOutcome::failed);
  ends(RunOutcome::complete);

  EXPECT_EQ(tell(), (std::vector{Kind::failure, Kind::recovery}));
  EXPECT_TRUE(tell().empty());
}

TEST_F(AlertStateTest, TellsOfARunAfterWhichTheProcessWasKilled) {
  ends(RunOutcome::complete);
  // It is in the log, and nothing more was done.
  runs_.push_back(run_at(++clock_, RunOutcome::failed));
  ends(RunOutcome::complete);

  EXPECT_EQ(tell(), (std::vector{Kind::failure, Kind::recovery}));
}

TEST_F(AlertStateTest, TellsOfOneThatBeganInTheSameSecond) {
  ends(RunOutcome::complete);
  runs_.push_back(run_at(clock_, RunOutcome::failed));  // and was killed
  runs_.push_back(run_at(clock_, RunOutcome::complete));
  note();
  EXPECT_EQ(tell(), (std::vector{Kind::failure, Kind::recovery}));
}

TEST_F(AlertStateTest, DoesNotTellOfWhatWasBeforeItWasAskedFor) {
  runs_.push_back(run_at(++clock_, RunOutcome::failed));
  ends(RunOutcome::complete);
  EXPECT_TRUE(tell().empty());
}

TEST_F(AlertStateTest, TakesAnInterruptedRunForNeither) {
  ends(RunOutcome::interrupted);
  EXPECT_TRUE(tell().empty());
  ends(RunOutcome::failed);
  (void)tell();
  ends(RunOutcome::interrupted);
  EXPECT_TRUE(tell().empty());
  EXPECT_TRUE(state().failing_since());
}

TEST_F(AlertStateTest, NoticesTheNewestRunThoughTheClockWentBack) {
  ends(RunOutcome::complete);
  clock_ -= 1'000'000;
  ends(RunOutcome::failed);
  EXPECT_EQ(tell(), (std::vector{Kind::failure}));
}

TEST_F(AlertStateTest, WaitsForEachChannel) {
  runs_ = {run_at(1, RunOutcome::failed)};
  auto now = state();
  note_last(now, {"webhook", "command"});
  const auto id = now.pending().front().id;
  now.delivered(id, "webhook");

  ASSERT_EQ(state().pending().size(), 1U);
  EXPECT_EQ(state().pending().front().channels,
            (std::vector<std::string>{"command"}));
}

TEST_F(AlertStateTest, GivesUpAChannelThatIsConfiguredNoMore) {
  ends(RunOutcome::failed);
  runs_.push_back(run_at(++clock_, RunOutcome::failed));
  auto now = state();
  note_last(now, {"command"});
  EXPECT_TRUE(state().pending().empty());
}

TEST_F(AlertStateTest, HasTheSameIdHoweverOftenItIsTold) {
  ends(RunOutcome::failed);
  const auto id = state().pending().front().id;
  EXPECT_EQ(state().pending().front().id, id);
  ends(RunOutcome::complete);
  EXPECT_NE(state().pending().back().id, id);
}

TEST_F(AlertStateTest, BeginsAnewWhereItIsDamaged) {
  ends(RunOutcome::failed);
  for (const auto& entry :
       std::filesystem::directory_iterator(folder_ / "alerts")) {
    write_file(entry.path(), R"({"pending":[{"id":3}],"failing_since":-1})");
  }
  EXPECT_TRUE(state().pending().empty());
  ends(RunOutcome::failed);
  EXPECT_EQ(tell(), (std::vector{Kind::failure}));
}

// As of a run that was refused: it tells of that while the one in its way ends.
TEST_F(AlertStateTest, LosesNothingThatAnotherProcessNotedMeanwhile) {
  runs_ = {run_at(2, RunOutcome::failed)};
  auto refused = state();
  note_last(refused);
  runs_.push_back(run_at(1, RunOutcome::complete));
  auto other = state();
  note_last(other);
  refused.delivered(refused.pending().front().id, "webhook");

  EXPECT_FALSE(state().failing_since());
  EXPECT_EQ(tell(), (std::vector{Kind::recovery}));
  clock_ = 2;
  ends(RunOutcome::complete);
  EXPECT_TRUE(tell().empty());
}

TEST_F(AlertStateTest, NotesARunOnceThoughTwoProcessesSeeIt) {
  runs_ = {run_at(2, RunOutcome::failed), run_at(1, RunOutcome::complete)};
  const auto log = [&] { return runs_; };
  const auto body = [](Kind, const std::string&, const JobRun&) {
    return std::string("x");
  };
  auto refused = state();
  refused.note_run(runs_.front(), log, kWebhook, body);
  note();
  EXPECT_EQ(tell(), (std::vector{Kind::failure, Kind::recovery}));
}

TEST_F(AlertStateTest, GivesOneProcessATimeTheTurnToTell) {
  ends(RunOutcome::failed);
  auto first = state();
  auto second = state();
  auto turn = first.take_turn();
  ASSERT_TRUE(turn);
  EXPECT_FALSE(second.take_turn());
  first.delivered(first.pending().front().id, "webhook");
  turn.reset();
  EXPECT_TRUE(second.take_turn());
  EXPECT_TRUE(second.pending().empty());
}

TEST_F(AlertStateTest, SeesWhatWasLeftToItWhileItHadTheTurn) {
  ends(RunOutcome::failed);
  auto first = state();
  {
    const auto turn = first.take_turn();
    first.delivered(first.pending().front().id, "webhook");
    ends(RunOutcome::complete);
  }
  first.look_again();
  ASSERT_EQ(first.pending().size(), 1U);
  EXPECT_EQ(first.pending().front().kind, Kind::recovery);
}

TEST_F(AlertStateTest, NotesOneThatIsNotInALogThatCannotBeRead) {
  ends(RunOutcome::complete);
  auto now = state();
  now.note_run(
      run_at(clock_, RunOutcome::failed), [] { return std::vector<JobRun>(); },
      kWebhook, [](Kind, const std::string&, const JobRun&) { return "x"; });
  EXPECT_EQ(tell(), (std::vector{Kind::failure}));
}

TEST_F(AlertStateTest, NotesARunOfTheSameSecondInALogThatWasBegunAnew) {
  ends(RunOutcome::complete);
  auto failed = run_at(clock_, RunOutcome::failed);
  failed.exit_code = 1;
  runs_ = {failed};
  note();
  EXPECT_EQ(tell(), (std::vector{Kind::failure}));
}

TEST_F(AlertStateTest, GivesUpTheOldest) {
  constexpr std::size_t kRuns = 3 * AlertState::kMostPending;
  for (std::size_t i = 0; i < kRuns; ++i) {
    ends(i % 2 == 0 ? RunOutcome::failed : RunOutcome::complete);
  }
  EXPECT_EQ(state().pending().size(), AlertState::kMostPending);
  EXPECT_EQ(state().pending().back().kind, Kind::recovery);
}

TEST_F(AlertStateTest, KnowsWhatToTellThoughItCannotBeStored) {
  write_file(folder_ / "alerts", "a file where a folder should be");
  AlertState unwritable(folder_.path(), "r", "s");
  const auto body = [](Kind, const std::string&, const JobRun&) {
    return std::string("failed");
  };
  const auto no_log = [] { return std::vector<JobRun>(); };
  EXPECT_THROW(unwritable.note_run(run_at(1, RunOutcome::failed), no_log,
                                   kWebhook, body),
               repo::IoError);
  ASSERT_EQ(unwritable.pending().size(), 1U);
  EXPECT_EQ(unwritable.pending().front().body, "failed");
}

}  // namespace
}  // namespace cairn::service
