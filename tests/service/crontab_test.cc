#include "service/crontab.h"

#include <gtest/gtest.h>

#include "repo/error.h"

namespace cairn::service {
namespace {

constexpr const char* kFile = "/etc/cairn/cairn.yaml";

CrontabJob job(const std::string& line, const std::string& zone = "UTC") {
  return crontab_job("nightly", Timetable(line, zone), "UTC",
                     {"/usr/bin/cairn", "daemon"}, {}, {});
}

TEST(Crontab, WakesUsAtTheMinutesAtWhichAJobMayBeDue) {
  EXPECT_EQ(job("5,20 2 * * mon").lines,
            "# job nightly: 5,20 2 * * mon in UTC\n"
            "5,20 * * * * /usr/bin/cairn daemon\n");
  EXPECT_EQ(job("* * * * *").lines,
            "# job nightly: * * * * * in UTC\n"
            "* * * * * /usr/bin/cairn daemon\n");
}

TEST(Crontab, WakesUsAtTheChangeThatSkipsATime) {
  EXPECT_NE(job("30 2 * * *", "Europe/Berlin").lines.find("\n0,30 * * * * "),
            std::string::npos);
  EXPECT_NE(job("30 4 * * *", "Europe/Berlin").lines.find("\n30 * * * * "),
            std::string::npos);
}

TEST(Crontab, WakesUsEveryMinuteWhereZonesDifferByPartsOfAnHour) {
  EXPECT_NE(job("30 4 * * *", "Asia/Kathmandu").lines.find("\n* * * * * "),
            std::string::npos);
}

TEST(Crontab, WakesUsEveryMinuteByAClockOfNoKnownZone) {
  const auto made = crontab_job("a", Timetable("30 4 * * *", "UTC"),
                                std::nullopt, {"x"}, {}, {});
  EXPECT_NE(made.lines.find("\n* * * * * x"), std::string::npos);
}

TEST(Crontab, LeavesWhatIsOthersAsItIs) {
  const std::string others =
      "MAILTO=root\n# BEGIN cairn /other.yaml\n1 2 3 4 5 x\n"
      "# END cairn /other.yaml\n0 5 * * * date +\\%s";
  const auto with = with_jobs(others, kFile, {job("0 2 * * *")});

  EXPECT_EQ(with, others +
                      "\n# BEGIN cairn /etc/cairn/cairn.yaml\n"
                      "# job nightly: 0 2 * * * in UTC\n"
                      "0 * * * * /usr/bin/cairn daemon\n"
                      "# END cairn /etc/cairn/cairn.yaml\n");
  EXPECT_EQ(with_jobs(with, kFile, {job("0 2 * * *")}), with);
  EXPECT_EQ(with_jobs(with, kFile, {}), others + "\n");
  EXPECT_EQ(with_jobs("", kFile, {}), "");
  EXPECT_EQ(with_jobs(others, kFile, {}), others);
}

TEST(Crontab, FindsItsJobsAgain) {
  const auto made = crontab_job("a", Timetable("0 2 * * *", "UTC"), "UTC",
                                {"x"}, "daily", "30");
  const auto crontab =
      with_jobs("0 5 * * * y\n", kFile, {made, job("0 3 * * *")}) +
      "0 6 * * * z\n";
  const auto found = jobs_in_crontab(crontab, kFile);

  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name, "a");
  EXPECT_EQ(found[0].lines, made.lines);
  EXPECT_EQ(found[0].frequency, "daily");
  EXPECT_EQ(found[0].retention, "30");
  EXPECT_EQ(found[1].name, "nightly");
  EXPECT_EQ(found[1].frequency, std::nullopt);
  EXPECT_TRUE(jobs_in_crontab(crontab, "/other.yaml").empty());
}

TEST(Crontab, RefusesABlockWithoutAnEnd) {
  const std::string broken =
      "# BEGIN cairn /etc/cairn/cairn.yaml\n0 2 * * * x\n";

  EXPECT_THROW((void)jobs_in_crontab(broken, kFile), std::invalid_argument);
  EXPECT_THROW((void)with_jobs(broken, kFile, {}), std::invalid_argument);
}

TEST(Crontab, RefusesToWriteOverLinesOfOthersWithinItsBlock) {
  const auto ours = with_jobs("", kFile, {job("0 2 * * *")});
  const auto end = ours.find("# END");
  for (const char* const line :
       {"5 4 * * * backup-photos\n", "MAILTO=me\n", "# a remark\n"}) {
    for (const auto at : {end, ours.find("# job"), ours.find("0 * * * *")}) {
      const auto mixed = std::string(ours).insert(at, line);
      SCOPED_TRACE(mixed);
      try {
        (void)with_jobs(mixed, kFile, {job("0 3 * * *")});
        ADD_FAILURE() << "written over";
      } catch (const repo::RefusedForSafety& e) {
        EXPECT_NE(std::string(e.what()).find("crontab -e"), std::string::npos);
      }
      EXPECT_THROW((void)with_jobs(mixed, kFile, {}), repo::RefusedForSafety);
    }
    const auto found =
        jobs_in_crontab(std::string(ours).insert(end, line), kFile);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].lines, job("0 2 * * *").lines);
  }
}

TEST(Crontab, QuotesWordsForCronAndTheShell) {
  EXPECT_EQ(crontab_word("/usr/bin/cairn"), "/usr/bin/cairn");
  EXPECT_EQ(crontab_word("a b"), "'a b'");
  EXPECT_EQ(crontab_word("it's 5%"), "'it'\\''s 5\\%'");
  EXPECT_EQ(crontab_word(""), "''");
  EXPECT_THROW((void)crontab_word("a\nb"), std::invalid_argument);
}

}  // namespace
}  // namespace cairn::service
