#include "cli/snapshot_selector.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <set>

#include "cli/source_coverage.h"
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
  valid.snapshot.header.is_complete =
      std::ranges::all_of(sources, [](const repo::SourceReport& source) {
        return source.status == SourceStatus::complete;
      });
  record.sources = std::move(sources);
  record.paths = std::move(paths);
  valid.snapshot.record = record;
  return valid;
}

repo::SourceReport stream(std::string name, SourceStatus status) {
  return {std::move(name), SourceKind::standard_input, status, 0, 0, ""};
}

repo::SourceReport files(SourceStatus status, std::string name = "files") {
  return {std::move(name), SourceKind::files, status, 0, 0, ""};
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

  static bool has_path(const repo::ValidSnapshot& valid,
                       std::string_view path) {
    return path == "unspoken" ||
           (path != "etc/absent" &&
            coverage_of(valid.snapshot, path) != Coverage::none);
  }

  static std::string digits_of(const repo::ValidSnapshot& valid) {
    return valid.snapshot.id.hex().substr(0, 5);
  }

  // Of snapshots_, in which those of not_valid_ do not count.
  repo::SnapshotHistory history() {
    std::vector<repo::SnapshotClaim> claims;
    for (const auto& [snapshot, holds] : snapshots_) {
      claims.push_back({snapshot.id, snapshot.header});
    }
    verified_.clear();
    const auto verify = [this](const repo::SnapshotClaim& claim) {
      for (const auto& valid : snapshots_) {
        if (valid.snapshot.id != claim.id) continue;
        verified_.push_back(digits_of(valid));
        if (!not_valid_.contains(digits_of(valid))) return valid;
      }
      throw repo::CorruptionError("forged");
    };
    return {std::move(claims), verify, [](const std::string&) {}};
  }

  // The first five digits of the one that is found.
  std::string find(std::string_view text,
                   const std::optional<Series>& series = std::nullopt) {
    auto snapshots = history();
    return digits_of(
        find_snapshot(snapshots, parse_snapshot_name(text), series, has_path));
  }

  // Of the one that is told of besides; empty: none.
  std::string newer_partial(std::string_view text) {
    const auto name = parse_snapshot_name(text);
    const std::optional<Series> series;
    auto snapshots = history();
    const auto& found = find_snapshot(snapshots, name, series, has_path);
    const auto* const newer =
        find_newer_partial(snapshots, name, series, found, has_path);
    return newer ? digits_of(*newer) : "";
  }

  // Those that are verified when `text` is looked up, in that order.
  std::string verified_for(std::string_view text,
                           const std::optional<Series>& series = std::nullopt) {
    (void)find(text, series);
    std::string all;
    for (const auto& digits : verified_) {
      all += (all.empty() ? "" : " ") + digits;
    }
    return all;
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
  std::set<std::string> not_valid_;
  std::vector<std::string> verified_;
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

TEST_F(SnapshotSelectorTest, IsNotTakenInByACompleteSourceBesideAPartialOne) {
  const auto job = [](std::string_view id, std::int64_t seconds,
                      SourceStatus uploads) {
    return snapshot(
        id, seconds,
        {files(uploads, "uploads"), files(SourceStatus::complete, "settings")},
        {"/srv/up", "/srv/conf"});
  };
  snapshots_.push_back(job("dddd1", kNoon + 100, SourceStatus::complete));
  snapshots_.push_back(job("dddd2", kNoon + 200, SourceStatus::partial));

  for (const std::string_view path : {"latest:/srv/up/f", "latest:/srv"}) {
    EXPECT_EQ(find(path), "dddd1") << path;
    EXPECT_EQ(newer_partial(path), "dddd2") << path;
  }
  EXPECT_EQ(find("latest:/srv/conf"), "dddd2");
  EXPECT_EQ(newer_partial("latest:/srv/conf"), "");
  EXPECT_EQ(find("latest"), "dddd2");
}

TEST_F(SnapshotSelectorTest, FindsWhatNoSourceSpeaksOf) {
  EXPECT_EQ(find("latest:unspoken"), "aaaa2");
  EXPECT_EQ(find("latest~1:unspoken"), "aaaa1");
  EXPECT_EQ(newer_partial("latest:unspoken"), "cccc1");
}

TEST_F(SnapshotSelectorTest, FindsTheNewestWhereAPathWasRecordedAsItWasTyped) {
  snapshots_[1] = snapshot("aaaa2", kNoon - 200,
                           {files(SourceStatus::complete)}, {"/unspoken"});
  snapshots_[3] =
      snapshot("cccc1", kNoon, {files(SourceStatus::complete)}, {"/a/symlink"});

  EXPECT_EQ(find("latest:unspoken"), "cccc1");
  EXPECT_EQ(find("latest~1:unspoken"), "aaaa2");
}

TEST_F(SnapshotSelectorTest, GoesPastADamagedOneThatNeedNotHoldThePath) {
  snapshots_.push_back(snapshot("dddd1", kNoon + 100,
                                {files(SourceStatus::complete)}, {"/srv"}));
  const auto find_among_damaged = [&](std::string_view text) {
    auto all = history();
    return digits_of(find_snapshot(
        all, parse_snapshot_name(text), std::nullopt,
        [](const repo::ValidSnapshot& valid, std::string_view path) {
          if (digits_of(valid) == "dddd1") throw repo::CorruptionError("hurt");
          return has_path(valid, path);
        }));
  };

  EXPECT_EQ(find_among_damaged("latest:db.sql"), "aaaa1");
  EXPECT_THROW((void)find_among_damaged("latest:/srv/f"),
               repo::CorruptionError);
  EXPECT_THROW((void)find_among_damaged("latest:other.sql"),
               repo::CorruptionError);
}

TEST_F(SnapshotSelectorTest, TakesAPartialSourceWhenThereIsNoOther) {
  snapshots_.erase(snapshots_.begin() + 1);

  EXPECT_EQ(find("latest:/etc/hosts"), "cccc1");
}

TEST_F(SnapshotSelectorTest, TellsOfANewerOneThatWasReadInPart) {
  EXPECT_EQ(newer_partial("latest:/etc/hosts"), "cccc1");
  EXPECT_EQ(newer_partial("latest~0:/etc/hosts"), "cccc1");
  EXPECT_EQ(newer_partial("@2026-11-20T11:59Z:/etc/hosts"), "");
  EXPECT_EQ(newer_partial("latest:db.sql"), "");
  EXPECT_EQ(newer_partial("aaaa2:/etc/hosts"), "");
  EXPECT_EQ(newer_partial("latest"), "");
}

TEST_F(SnapshotSelectorTest, CountsBehindATildeOnlyWhatHoldsThePath) {
  snapshots_.push_back(snapshot("dddd1", kNoon + 100,
                                {files(SourceStatus::complete)}, {"/etc"}));

  EXPECT_EQ(find("latest~0:/etc/hosts"), "dddd1");
  EXPECT_EQ(find("latest~1:/etc/hosts"), "aaaa2");
  EXPECT_EQ(find("latest~0:db.sql"), "aaaa1");
  EXPECT_NE(failure_of("latest~1:db.sql").find("than 1 snapshot "),
            std::string::npos);
}

TEST_F(SnapshotSelectorTest, FindsTheNewestWithAPathAtOrBeforeATime) {
  EXPECT_EQ(find("@2026-11-20T12:00Z:db.sql"), "aaaa1");
  EXPECT_EQ(find("@2026-11-20T12:00Z:/etc/hosts"), "aaaa2");
  EXPECT_NE(failure_of("@2026-11-20T11:56Z:/etc/hosts"), "");
}

TEST_F(SnapshotSelectorTest, CountsAsFarAsThereAreNumbers) {
  EXPECT_NE(failure_of("latest~18446744073709551615").find("than 4 snapshots"),
            std::string::npos);
  EXPECT_NE(failure_of("latest~18446744073709551616"), "");
}

TEST_F(SnapshotSelectorTest, VerifiesNoMoreThanItMust) {
  EXPECT_EQ(verified_for("latest"), "cccc1");
  EXPECT_EQ(verified_for("latest~1"), "cccc1 bbbb1");
  EXPECT_EQ(verified_for("latest:db.sql"), "cccc1 bbbb1 aaaa2 aaaa1");
  EXPECT_EQ(verified_for("latest:/etc/hosts"), "cccc1 bbbb1 aaaa2");
  EXPECT_EQ(verified_for("@2026-11-20T11:58:19Z"), "aaaa2");
  EXPECT_EQ(verified_for("aaaa1"), "aaaa1");
}

TEST_F(SnapshotSelectorTest, PassesOverWhatDoesNotCount) {
  not_valid_ = {"cccc1", "aaaa2"};

  EXPECT_EQ(find("latest"), "bbbb1");
  EXPECT_EQ(find("latest~1"), "aaaa1");
  EXPECT_EQ(find("aaaa"), "aaaa1");
  EXPECT_EQ(find("@2026-11-20T11:58:19Z"), "aaaa1");
  EXPECT_NE(failure_of("latest~2").find("than 2 snapshots"), std::string::npos);
  EXPECT_NE(failure_of("cccc").find("bbbb1000"), std::string::npos);
  EXPECT_EQ(failure_of("cccc").find("aaaa2000"), std::string::npos);
}

TEST_F(SnapshotSelectorTest, LooksOnlyInTheSeriesThatIsNamed) {
  const auto keyring = repo::Keyring::create();
  for (auto& valid : snapshots_) {
    valid.snapshot.header.series_tag = series_tag(keyring, "host/db");
  }
  snapshots_[2].snapshot.header.series_tag = series_tag(keyring, "host/other");

  EXPECT_EQ(find("latest", Series("host/other", keyring)), "bbbb1");
  EXPECT_EQ(find("latest~1", Series("host/db", keyring)), "aaaa2");
  EXPECT_EQ(find("@2026-11-20T11:59Z", Series("host/db", keyring)), "aaaa2");
  EXPECT_EQ(verified_for("latest~1", Series("host/db", keyring)),
            "cccc1 aaaa2");
}

TEST_F(SnapshotSelectorTest, PassesOverWalUnlessItIsNamed) {
  const auto keyring = repo::Keyring::create();
  snapshots_[3].snapshot.record->series = "host/pg/wal";
  snapshots_[3].snapshot.header.series_tag = series_tag(keyring, "host/pg/wal");

  EXPECT_EQ(find("latest"), "bbbb1");
  EXPECT_EQ(find("@2026-11-20T12:00Z"), "bbbb1");
  EXPECT_EQ(find("cccc1"), "cccc1");
  EXPECT_EQ(find("latest", Series("host/pg/wal", keyring)), "cccc1");
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

TEST_F(SnapshotSelectorTest, TakesATimeWithoutAFractionForTheWholeSecond) {
  snapshots_[3].snapshot.header.time.nanoseconds = 999'999'999;

  EXPECT_EQ(find("@2026-11-20T12:00:00Z"), "cccc1");
  EXPECT_EQ(find("@2026-11-20 13:00:00 +01:00"), "cccc1");  // as it is printed
  EXPECT_EQ(find("@2026-11-20T12:00:00.999999999Z"), "cccc1");
  EXPECT_EQ(find("@2026-11-20T12:00:00.5Z"), "bbbb1");
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
  EXPECT_EQ(path_of("@2026-11-20 14:30:00 -05:00:etc"), "etc");
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
