#include "cli/source_coverage.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

using repo::SourceKind;
using repo::SourceReport;
using repo::SourceStatus;
using enum Coverage;

SourceReport files(std::string name, SourceStatus status,
                   std::string message = "") {
  return {std::move(name), SourceKind::files, status, 0, 0, std::move(message)};
}

SourceReport stream(std::string name, SourceStatus status) {
  return {std::move(name), SourceKind::command, status, 0, 0, ""};
}

// Of a job, whose paths come in the order of its sources.
repo::Snapshot snapshot(std::vector<SourceReport> sources,
                        std::vector<std::string> paths) {
  repo::Snapshot snapshot;
  for (const auto& source : sources) {
    if (source.status != SourceStatus::complete) {
      snapshot.header.is_complete = false;
    }
  }
  repo::SnapshotRecord record;
  record.sources = std::move(sources);
  record.paths = std::move(paths);
  snapshot.record = std::move(record);
  return snapshot;
}

TEST(SourceCoverage, IsThatOfTheSourceWhosePathItIs) {
  const auto job = snapshot({files("uploads", SourceStatus::partial),
                             files("settings", SourceStatus::complete)},
                            {"/srv/up", "/srv/conf"});

  EXPECT_EQ(coverage_of(job, "/srv/up"), partial);
  EXPECT_EQ(coverage_of(job, "/srv/up/f"), partial);
  EXPECT_EQ(coverage_of(job, "srv/conf/"), complete);
  EXPECT_EQ(coverage_of(job, "/srv"), partial);
  EXPECT_EQ(coverage_of(job, ""), partial);
  EXPECT_EQ(coverage_of(job, "/srv/upper"), none);
}

TEST(SourceCoverage, IsThatOfTheWorstWhereAPathMayBeOfSeveral) {
  const auto job = snapshot(
      {files("a", SourceStatus::complete), files("b", SourceStatus::partial)},
      {"/1", "/2", "/3"});

  EXPECT_EQ(coverage_of(job, "/1"), complete);  // the first one is of a
  EXPECT_EQ(coverage_of(job, "/2"), partial);
  EXPECT_EQ(coverage_of(job, "/3"), partial);  // and the last one of b
}

TEST(SourceCoverage, TellsPathsFromTheNamesOfOtherSources) {
  const auto job = snapshot({files("a", SourceStatus::complete),
                             stream("db/shop.sql", SourceStatus::complete),
                             stream("db/gone.sql", SourceStatus::failed),
                             files("b", SourceStatus::partial)},
                            {"/1", "db/shop.sql", "db/gone.sql", "/2"});

  EXPECT_EQ(coverage_of(job, "/1"), complete);
  EXPECT_EQ(coverage_of(job, "/2"), partial);
  EXPECT_EQ(coverage_of(job, "db/shop.sql"), complete);
  EXPECT_EQ(coverage_of(job, "db/gone.sql"), none);
  EXPECT_EQ(coverage_of(job, "db"), partial);
}

TEST(SourceCoverage, LacksWhatFailedOnlyInFoldersAboveIt) {
  const auto some = snapshot({files("files", SourceStatus::failed),
                              files("files", SourceStatus::complete)},
                             {"/srv/absent", "/srv/conf"});

  EXPECT_EQ(coverage_of(some, "/srv/conf"), complete);
  EXPECT_EQ(coverage_of(some, "/srv/absent/f"), none);
  EXPECT_EQ(coverage_of(some, "/srv"), partial);
  EXPECT_EQ(coverage_of(some, "/"), partial);
}

TEST(SourceCoverage, IsThatOfTheSnapshotWhereNoSourceSpeaksOfThePath) {
  auto one = snapshot({files("files", SourceStatus::complete)}, {"/typed"});
  EXPECT_TRUE(is_whole(one, "/resolved"));

  one.record->sources[0].status = SourceStatus::partial;
  one.header.is_complete = false;
  EXPECT_FALSE(is_whole(one, "/resolved"));
  EXPECT_EQ(what_it_lacks(one, "/resolved"), "files: read only in part");

  one.record.reset();  // for a role that may not read it
  EXPECT_FALSE(is_whole(one, "/typed"));
  EXPECT_EQ(what_it_lacks(one, "/typed"), "");
}

TEST(SourceCoverage, NamesWhatIsLackingAndWhy) {
  const auto job =
      snapshot({files("uploads", SourceStatus::partial, "1 entry not right"),
                stream("db.sql", SourceStatus::failed),
                files("settings", SourceStatus::complete)},
               {"/srv/up", "db.sql", "/srv/conf"});

  EXPECT_EQ(what_it_lacks(job, ""),
            "uploads: 1 entry not right; db.sql: failed");
  EXPECT_EQ(what_it_lacks(job, "/srv/up/f"), "uploads: 1 entry not right");
}

TEST(SourceCoverage, NamesNoMoreThanAFew) {
  std::vector<SourceReport> sources;
  for (int i = 0; i < 7; ++i) {
    sources.push_back(stream(std::to_string(i), SourceStatus::failed));
  }

  EXPECT_EQ(what_it_lacks(snapshot(sources, {}), ""),
            "0: failed; 1: failed; 2: failed; 3: failed; 4: failed; "
            "and 2 more");
}

}  // namespace
}  // namespace cairn::cli
