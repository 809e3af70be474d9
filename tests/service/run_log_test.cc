#include "service/run_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "repo/error.h"
#include "tests/support/temp_folder.h"

namespace cairn::service {
namespace {

namespace fs = std::filesystem;
using testing_support::read_file;
using testing_support::TempFolder;
using testing_support::write_file;

constexpr const char* kRepository = "/srv/backups/cairn";
constexpr const char* kSeries = "web1/nightly";

Moment at(std::int64_t seconds) {
  return Moment(std::chrono::seconds(seconds));
}

JobRun a_run(std::int64_t began) {
  return {.began = at(began), .ended = at(began + 5)};
}

JobRun a_partial_run() {
  JobRun run = a_run(1'700'000'000);
  run.outcome = RunOutcome::partial;
  run.exit_code = 3;
  run.snapshot = "0123abcd";
  run.bytes_read = std::uint64_t{1} << 40;
  run.bytes_new = 7;
  run.verified = true;
  run.message = "a \"quoted\"\nline, \xc3\xa9";
  run.sources = {
      {.name = "postgres/shop.dump", .bytes = 9, .seconds = 1.5},
      {.name = "redis", .outcome = RunOutcome::failed, .message = "no answer"}};
  return run;
}

class RunLogTest : public ::testing::Test {
 protected:
  [[nodiscard]] RunLog log() const {
    return {folder_.path(), kRepository, kSeries};
  }
  [[nodiscard]] fs::path file() const {
    for (const auto& entry : fs::directory_iterator(folder_ / "runs")) {
      if (entry.path().extension() == ".jsonl") return entry.path();
    }
    throw std::runtime_error("there is no log");
  }
  void append_raw(const std::string& text) const {
    std::ofstream(file(), std::ios::app | std::ios::binary) << text;
  }

  TempFolder folder_;
};

TEST_F(RunLogTest, IsEmptyAndMakesNothingWhereNothingRan) {
  EXPECT_TRUE(log().read().empty());
  EXPECT_FALSE(fs::exists(folder_ / "runs"));
}

TEST_F(RunLogTest, GivesBackWhatWasAppended) {
  const JobRun first = a_partial_run();
  JobRun second = a_run(1'700'003'600);
  second.outcome = RunOutcome::interrupted;
  second.exit_code = 143;
  log().append(first);
  log().append(second);

  EXPECT_EQ(log().read(), (std::vector{first, second}));
}

TEST_F(RunLogTest, KeepsSeriesAndRepositoriesApart) {
  log().append(a_run(1));

  EXPECT_TRUE(
      RunLog(folder_.path(), kRepository, "web1/hourly").read().empty());
  EXPECT_TRUE(RunLog(folder_.path(), "/elsewhere", kSeries).read().empty());
}

TEST_F(RunLogTest, FindsPartsOfASeries) {
  for (const auto* const series :
       {kSeries, "web1/nightly/config", "web1/nightlyish/config"}) {
    RunLog(folder_.path(), kRepository, series).append(a_run(1));
  }
  RunLog(folder_.path(), kRepository, "web1/nightly/data").begin(at(1));
  RunLog(folder_.path(), "/elsewhere", "web1/nightly/other").append(a_run(1));

  EXPECT_EQ(
      RunLog::parts_of(folder_.path(), kRepository, kSeries),
      (std::vector<std::string>{"web1/nightly/config", "web1/nightly/data"}));
}

TEST_F(RunLogTest, IsForNobodyElseToRead) {
  log().append(a_run(1));
  EXPECT_EQ(fs::status(file()).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(RunLogTest, PassesOverALineThatWasCutShort) {
  log().append(a_run(1));
  const auto whole = read_file(file());
  append_raw(whole.substr(0, whole.size() / 2));
  log().append(a_run(2));

  const RunLog damaged = log();
  EXPECT_EQ(damaged.read(), (std::vector{a_run(1), a_run(2)}));
  EXPECT_EQ(damaged.damaged_lines(), 1U);
}

TEST_F(RunLogTest, PassesOverWhatMakesNoSense) {
  log().append(a_partial_run());
  for (
      const auto* const line :
      {"garbage", "{}", "[]", "null", "\xff\xfe\x00",
       R"({"began":-1,"ended":2,"outcome":"complete","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[]})",
       R"({"began":1,"ended":9e99,"outcome":"complete","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[]})",
       R"({"began":1,"ended":99999999999999999,"outcome":"complete","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[]})",
       R"({"began":1,"ended":2,"outcome":"fine","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[]})",
       R"({"began":1,"ended":2,"outcome":"complete","exit_code":5000000000,"bytes_read":0,"bytes_new":0,"sources":[]})",
       R"({"began":1,"ended":2,"outcome":"complete","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[3]})",
       R"({"began":1,"ended":2,"outcome":"complete","exit_code":0,"bytes_read":0,"bytes_new":0,"sources":[{"name":1}]})"}) {
    append_raw(std::string(line) + "\n");
  }
  append_raw(std::string(100'000, '['));

  const RunLog damaged = log();
  EXPECT_EQ(damaged.read(), (std::vector{a_partial_run()}));
  EXPECT_EQ(damaged.damaged_lines(), 13U);
}

TEST_F(RunLogTest, IsCutToTheNewestWhenItHasGrown) {
  constexpr std::size_t kMost = 2 * RunLog::kKept;
  for (std::size_t i = 0; i < kMost; ++i) {
    log().append(a_run(static_cast<std::int64_t>(i)));
  }
  EXPECT_EQ(log().read().size(), kMost);

  log().append(a_run(kMost));
  const auto runs = log().read();
  ASSERT_EQ(runs.size(), RunLog::kKept);
  EXPECT_EQ(runs.back(), a_run(kMost));
  EXPECT_EQ(runs.front(), a_run(kMost - RunLog::kKept + 1));
}

TEST_F(RunLogTest, KnowsOfARunThatIsAtWork) {
  log().append(a_run(1));
  log().begin(at(10));

  const RunLog at_work = log();
  EXPECT_EQ(at_work.read(), (std::vector{a_run(1)}));
  EXPECT_EQ(at_work.unfinished(), at(10));
  EXPECT_EQ(at_work.damaged_lines(), 0U);

  log().append(a_run(10));
  EXPECT_EQ(at_work.read(), (std::vector{a_run(1), a_run(10)}));
  EXPECT_FALSE(at_work.unfinished());
}

TEST_F(RunLogTest, TakesABeginWithoutAnEndForAFailedRun) {
  log().begin(at(10));  // and was killed
  log().begin(at(20));
  log().append(a_run(20));

  const RunLog after = log();
  EXPECT_EQ(after.read(), (std::vector{lost_run(at(10)), a_run(20)}));
  EXPECT_FALSE(after.unfinished());
}

TEST_F(RunLogTest, DoesNotTakeARefusedRunForTheEndOfTheOneInItsWay) {
  JobRun refused = a_run(10);  // in the same second
  refused.outcome = RunOutcome::failed;
  refused.exit_code = 11;
  refused.was_refused = true;
  log().begin(at(10));
  log().append(refused);

  const RunLog at_work = log();
  EXPECT_EQ(at_work.read(), (std::vector{refused}));
  EXPECT_EQ(at_work.unfinished(), at(10));
}

TEST_F(RunLogTest, IsCutWithoutForgettingWhatIsAtWork) {
  for (std::size_t i = 0; i < 2 * RunLog::kKept; ++i) {
    log().append(a_run(static_cast<std::int64_t>(i)));
  }
  const auto now = static_cast<std::int64_t>(2 * RunLog::kKept);
  log().begin(at(now));
  const RunLog cut = log();
  EXPECT_EQ(cut.read().size(), RunLog::kKept - 1);
  EXPECT_EQ(cut.unfinished(), at(now));

  for (std::size_t i = 0; i < RunLog::kKept; ++i) {
    JobRun refused = a_run(now);
    refused.was_refused = true;
    log().append(refused);
  }
  log().append(a_run(now));
  EXPECT_FALSE(cut.read().empty());
  EXPECT_FALSE(cut.unfinished());
}

TEST_F(RunLogTest, CutsALongMessageBetweenCharacters) {
  JobRun run = a_run(1);
  run.message = std::string(RunLog::kMaxMessage - 1, 'x') + "\xc3\xa9 and more";
  log().append(run);
  EXPECT_EQ(log().read().front().message,
            std::string(RunLog::kMaxMessage - 1, 'x'));
}

TEST_F(RunLogTest, StoresAnyBytesOfAName) {
  JobRun run = a_run(1);
  run.sources = {{.name = "a\xff"}};
  log().append(run);
  EXPECT_EQ(log().read().front().sources.front().name, "a\xef\xbf\xbd");
}

TEST_F(RunLogTest, SaysThatItCannotBeWritten) {
  write_file(folder_ / "runs", "a file where a folder should be");
  EXPECT_THROW(log().append(a_run(1)), repo::IoError);
}

}  // namespace
}  // namespace cairn::service
