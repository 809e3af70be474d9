#include "cli/status_report.h"

#include <gtest/gtest.h>

#include "cli/prometheus_text.h"

namespace cairn::cli {
namespace {

using service::GoodState;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Moment kNow{seconds(1'700'000'000)};

SourceStatus source(const std::string& name, seconds age) {
  SourceStatus status;
  status.job = "nightly";
  status.source = name;
  status.good = {GoodState{kNow - age, 1000}};
  status.interval = hours(1);
  return status;
}

StatusReport report_of(std::vector<SourceStatus> sources) {
  StatusReport report;
  report.now = kNow;
  report.sources = std::move(sources);
  return report;
}

TEST(StatusReport, SaysIntervalsAsPeopleDo) {
  EXPECT_EQ(interval_text(hours(1)), "every hour");
  EXPECT_EQ(interval_text(seconds(3'597)), "every hour");
  EXPECT_EQ(interval_text(seconds(3'700)), "every hour");
  EXPECT_EQ(interval_text(minutes(90)), "every 90 minutes");
  EXPECT_EQ(interval_text(hours(6)), "every 6 hours");
  EXPECT_EQ(interval_text(hours(24)), "every day");
  EXPECT_EQ(interval_text(hours(24) + minutes(40)), "every day");
  EXPECT_EQ(interval_text(hours(7 * 24)), "every 7 days");
  EXPECT_EQ(interval_text(seconds(1)), "every minute");
}

TEST(StatusReport, SaysInASentenceWhatIsNotSafe) {
  auto redis = source("redis", hours(27));
  redis.is_overdue = true;
  auto report = report_of({source("a", hours(0)), redis, source("c", hours(0)),
                           source("d", hours(0)), source("e", hours(0))});
  EXPECT_EQ(
      report.sentence(),
      "1 of 5 sources is not safe: redis was last saved 27 hours ago, due "
      "every hour");
  report.sources[3].failure = "no answer";
  EXPECT_EQ(
      report.sentence(),
      "2 of 5 sources are not safe: redis was last saved 27 hours ago, due "
      "every hour");
  EXPECT_EQ(report.what_is_wrong().at(1),
            "d was last saved just now, and then failed: no answer");
}

TEST(StatusReport, SaysThatEverythingIsSafe) {
  const auto report = report_of({source("a", hours(0))});
  EXPECT_TRUE(report.is_safe());
  EXPECT_EQ(report.sentence(), "everything is safe");
}

TEST(StatusReport, MakesNoControlCharactersOfWhatAServerSaid) {
  auto bad = source("a", hours(0));
  bad.failure = "\x1b[31mred";
  EXPECT_EQ(report_of({bad}).sentence().find('\x1b'), std::string::npos);
}

TEST(PrometheusText, HasNoSampleOfWhatIsNotKnown) {
  SourceStatus never;
  never.job = "nightly";
  never.source = "redis";
  const auto text = prometheus_text(report_of({never}));
  EXPECT_EQ(text.find("backup_last_success_timestamp"), std::string::npos);
  EXPECT_EQ(text.find("cairn_source_interval_seconds"), std::string::npos);
  EXPECT_NE(text.find("cairn_source_overdue{source=\"redis\","
                      "cairn_job=\"nightly\"} 1\n"),
            std::string::npos);
}

TEST(PrometheusText, RepeatsWhatIsKnownOfPacksThatNobodyLookedAt) {
  StatusReport report = report_of({});
  report.repositories.emplace_back().name = "local";
  const std::string before =
      "not_cairn_repository_packs_damaged{repository=\"local\"} 9\n"
      "cairn_repository_packs_damaged{repository=\"local\"} 3\n"
      "cairn_repository_packs_late{repository=\"local\"} 1 or two\n"
      "cairn_repository_packs{repository=\"gone\"} 4\n";
  const auto text = prometheus_text(report, before);
  EXPECT_NE(text.find("\ncairn_repository_packs_damaged{repository=\"local\"} "
                      "3\n"),
            std::string::npos);
  EXPECT_EQ(text.find("cairn_repository_packs_late"), std::string::npos);
  EXPECT_EQ(text.find("gone"), std::string::npos);

  report.repositories.front().coverage.emplace();
  EXPECT_NE(prometheus_text(report, before)
                .find("cairn_repository_packs_damaged{repository=\"local\"} 0"),
            std::string::npos);
}

TEST(PrometheusText, RepeatsWhatIsKnownOfWalThatNobodyLookedAt) {
  StatusReport report = report_of({});
  report.repositories.emplace_back().name = "far";
  report.repositories.emplace_back().name = "near";
  report.repositories.back().coverage.emplace();
  report.wal.push_back({.repository = "near",
                        .series = "db/new/wal",
                        .system = 8,
                        .stored_at = kNow,
                        .lag = seconds(7)});
  const std::string before =
      "cairn_wal_lag_seconds{repository=\"far\",series=\"db/a b/wal\","
      "system=\"7\"} 901\n"
      "cairn_wal_lag_seconds{repository=\"far\",series=\"odd\"} 1 or two\n"
      "cairn_wal_lag_seconds{repository=\"near\",series=\"db/old/wal\","
      "system=\"7\"} 5\n"
      "cairn_wal_lag_seconds{repository=\"farther\",series=\"x\"} 5\n"
      "not_cairn_wal_lag_seconds{repository=\"far\",series=\"x\"} 5\n";
  const auto text = prometheus_text(report, before);
  EXPECT_NE(text.find("# TYPE cairn_wal_lag_seconds gauge\n"
                      "cairn_wal_lag_seconds{repository=\"near\",series="
                      "\"db/new/wal\",system=\"8\"} 7\n"
                      "cairn_wal_lag_seconds{repository=\"far\",series="
                      "\"db/a b/wal\",system=\"7\"} 901\n"),
            std::string::npos)
      << text;
  for (const auto* const gone : {"odd", "db/old", "farther", "not_cairn"}) {
    EXPECT_EQ(text.find(gone), std::string::npos) << gone;
  }
}

TEST(PrometheusText, EscapesWhatALabelMayNotHold) {
  auto odd = source("a", hours(0));
  odd.databases = {
      {.name = "sh\"op\\\n", .last = GoodState{kNow, 7}, .seconds = 1.5}};
  const auto text = prometheus_text(report_of({odd}));
  EXPECT_NE(text.find("backup_size_bytes{database=\"sh\\\"op\\\\\\n\",source="
                      "\"a\",cairn_job=\"nightly\"} 7\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("backup_duration_seconds{database=\"sh\\\"op\\\\\\n\","
                      "source=\"a\",cairn_job=\"nightly\"} 1.5\n"),
            std::string::npos)
      << text;
}

TEST(PrometheusText, HasEachSampleOnceWhereADatabaseIsCalledAsItsSource) {
  auto same = source("shop", hours(0));
  same.databases = {
      {.name = "shop", .last = GoodState{kNow, 7}, .seconds = {}}};
  const auto text = prometheus_text(report_of({same}));
  const auto first = text.find("backup_size_bytes{database=\"shop\"");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(text.find("backup_size_bytes{database=\"shop\"", first + 1),
            std::string::npos);
}

}  // namespace
}  // namespace cairn::cli
