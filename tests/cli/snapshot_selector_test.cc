#include "cli/snapshot_selector.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include "repo/error.h"

namespace cairn::cli {
namespace {

using repo::SourceKind;
using repo::SourceStatus;

constexpr std::int64_t kNoon = 1'795'176'000;  // 2026-11-20T12:00:00Z

repo::ValidSnapshot snapshot(std::string_view id, std::int64_t seconds,
                             std::vector<repo::SourceReport> sources,
                             std::vector<std::string> paths = {}) {
  std::string digits(id);
  digits.resize(32, '0');
  repo::ValidSnapshot valid;
  valid.snapshot.id = *repo::SessionId::from_hex(digits);
  valid.snapshot.header.time = {seconds, 0};
  repo::SnapshotRecord record;
  record.series = "host/db";
  record.sources = std::move(sources);
  record.paths = std::move(paths);
  valid.snapshot.record = record;
  return valid;
}

repo::SourceReport stream(std::string name, SourceStatus status) {
  return {std::move(name), SourceKind::standard_input, status, 0, 0, ""};
}

repo::SourceReport files(SourceStatus status) {
  return {"files", SourceKind::files, status, 0, 0, ""};
}

class SnapshotSelectorTest : public ::testing::Test {
 protected:
  SnapshotSelectorTest() {
    ::setenv("TZ", "Europe/Berlin", 1);
    ::tzset();
    snapshots_ = {
        snapshot("aaaa1", kNoon - 300,
                 {stream("db.sql", SourceStatus::complete)}),
        snapshot("aaaa2", kNoon - 200, {files(SourceStatus::complete)},
                 {"/etc"}),
        snapshot("bbbb1", kNoon - 100,
                 {stream("db.sql", SourceStatus::failed)}),
        snapshot("cccc1", kNoon, {files(SourceStatus::partial)}, {"/etc"}),
    };
  }

  // The first five digits of the one that is found.
  std::string find(std::string_view text) {
    const auto& found =
        find_snapshot(snapshots_, parse_snapshot_name(text),
                      [](const repo::ValidSnapshot&, std::string_view path) {
                        return path != "etc/absent";
                      });
    return found.snapshot.id.hex().substr(0, 5);
  }

  std::string failure_of(std::string_view text) {
    try {
      (void)find(text);
    } catch (const repo::NotFound& e) {
      return e.what();
    }
    return "";
  }

  std::vector<repo::ValidSnapshot> snapshots_;
};

TEST_F(SnapshotSelectorTest, FindsTheNewestAndThoseBeforeIt) {
  EXPECT_EQ(find("latest"), "cccc1");
  EXPECT_EQ(find("latest~0"), "cccc1");
  EXPECT_EQ(find("latest~2"), "aaaa2");
  EXPECT_NE(failure_of("latest~4"), "");
}

TEST_F(SnapshotSelectorTest, FindsTheNewestThatHoldsAStreamComplete) {
  EXPECT_EQ(find("latest:db.sql"), "aaaa1");
  EXPECT_NE(failure_of("latest:other.sql"), "");
}

TEST_F(SnapshotSelectorTest, PrefersACompleteSourceToANewerPartialOne) {
  EXPECT_EQ(find("latest:/etc/hosts"), "aaaa2");
  EXPECT_EQ(find("latest:etc"), "aaaa2");
  EXPECT_EQ(find("latest:/"), "cccc1");
  EXPECT_NE(failure_of("latest:/etc/absent"), "");
  EXPECT_NE(failure_of("latest:/etcetera"), "");
}

TEST_F(SnapshotSelectorTest, TakesAPartialSourceWhenThereIsNoOther) {
  snapshots_.erase(snapshots_.begin() + 1);

  EXPECT_EQ(find("latest:/etc/hosts"), "cccc1");
}

TEST_F(SnapshotSelectorTest, CountsAllSnapshotsBehindATilde) {
  EXPECT_EQ(find("latest~1:db.sql"), "bbbb1");
}

TEST_F(SnapshotSelectorTest, FindsAnIdByItsBeginning) {
  EXPECT_EQ(find("bbbb"), "bbbb1");
  EXPECT_EQ(find("AAAA2:/etc"), "aaaa2");
}

TEST_F(SnapshotSelectorTest, NamesTheCandidatesOfAnAmbiguousId) {
  const std::string failure = failure_of("aaaa");

  EXPECT_NE(failure.find("aaaa1000"), std::string::npos) << failure;
  EXPECT_NE(failure.find("aaaa2000"), std::string::npos) << failure;
  EXPECT_EQ(failure.find("bbbb"), std::string::npos) << failure;
}

TEST_F(SnapshotSelectorTest, NamesWhatThereIsForAnUnknownId) {
  EXPECT_NE(failure_of("ffff").find("cccc1000"), std::string::npos);
  snapshots_.clear();
  EXPECT_NE(failure_of("ffff").find("no snapshots"), std::string::npos);
}

TEST_F(SnapshotSelectorTest, FindsTheNewestAtOrBeforeATime) {
  EXPECT_EQ(find("@2026-11-20T12:00Z"), "cccc1");
  EXPECT_EQ(find("@2026-11-20T11:59Z"), "bbbb1");
  EXPECT_EQ(find("@2026-11-20T11:58:19Z"), "aaaa2");
  EXPECT_EQ(find("@2026-11-20T13:00"), "cccc1");  // of Berlin
  EXPECT_EQ(find("@2026-11-20T12:59"), "bbbb1");
  EXPECT_EQ(find("@2026-11-20T06:59-05:00"), "bbbb1");
  EXPECT_NE(failure_of("@2026-11-20T11:00Z"), "");
}

TEST_F(SnapshotSelectorTest, TellsAPathFromTheSecondsOfATime) {
  const auto path_of = [](std::string_view text) {
    return parse_snapshot_name(text).path;
  };

  EXPECT_EQ(path_of("@2026-11-20T14:30"), std::nullopt);
  EXPECT_EQ(path_of("@2026-11-20T14:30:15"), std::nullopt);
  EXPECT_EQ(path_of("@2026-11-20T14:30:/15"), "/15");
  EXPECT_EQ(path_of("@2026-11-20T14:30:db.sql"), "db.sql");
  EXPECT_EQ(path_of("@2026-11-20T14:30:15:db:1.sql"), "db:1.sql");
  EXPECT_EQ(path_of("@2026-11-20T14:30+01:00:etc"), "etc");
  EXPECT_EQ(path_of("latest:a:b"), "a:b");
  EXPECT_EQ(path_of("latest:"), "");
}

TEST_F(SnapshotSelectorTest, RefusesWhatNamesNoSnapshot) {
  for (const std::string_view text :
       {"", "lates", "latest~", "latest~-1", "latest~x", "abc", "xyzw",
        "@yesterday", "@2026-11-20", "@2026-13-20T14:30", "@2026-02-30T14:30",
        "@2026-11-20T14:30x"}) {
    EXPECT_NE(failure_of(text), "") << text;
  }
}

}  // namespace
}  // namespace cairn::cli
