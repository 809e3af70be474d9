#include "ingest/wal_push.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>

#include "ingest/wal_digests.h"
#include "repo/error.h"
#include "tests/support/deny_syscalls.h"
#include "tests/support/pushed_wal_site.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::kSegment;
using testing_support::kSystem;
using testing_support::kWalSeries;
using testing_support::PushedWalSite;
using testing_support::wal_segment;
using Known = PushedWal::Known;
using Added = PushedWal::Added;

class Push : public PushedWalSite {
 protected:
  static StoredInPlace unknown(const WalToPush&) {
    return StoredInPlace::unknown;
  }
};

TEST_F(Push, WhatIsNotWhatItsNameSaysIsRefused) {
  const auto refused = [this](const fs::path& path) {
    EXPECT_THROW((void)inspect(path), repo::RefusedForSafety) << path;
  };
  const Bytes good = wal_segment({.begin = 3 * kSegment});
  refused(write("000000010000000000000004", good));     // of another place
  refused(write("000000010000000000000003.gz", good));  // no name of theirs
  refused(
      write("000000010000000000000003", Bytes(good.begin(), good.end() - 1)));
  refused(write("000000010000000000000003", Bytes(kSegment)));
  refused(write("000000010000000000000003", {}));
  refused(write("000000010000000000000003",
                wal_segment({.system = 78, .begin = 3 * kSegment})));
  refused(write("000000010000000000000003",
                wal_segment({.timeline = 2, .begin = 3 * kSegment})));
  refused(write("00000002.history", {}));
  refused(write("00000002.history", bytes_of("2\t0/300000\tnow\n")));
  refused(write("000000010000000000000003.00000028.backup", bytes_of("x")));
  EXPECT_THROW((void)inspect(data() / "pg_wal/000000010000000000000009"),
               repo::IoError);
  // The first segment of a timeline begins with the one before.
  const auto first = inspect(write("000000020000000000000003", good));
  EXPECT_EQ(first.begin.value, 3 * kSegment);
  EXPECT_EQ(first.server_version, "15");
}

TEST_F(Push, TheSameAgainIsAcceptedAndAnythingElseRefused) {
  const auto path = segment(3);
  EXPECT_EQ(add(path), Added::added);
  EXPECT_EQ(add(path), Added::was_there);
  (void)segment(3, 50);
  EXPECT_THROW(add(path), repo::RefusedForSafety);
  (void)segment(3);
  EXPECT_EQ(add(path), Added::was_there);
  EXPECT_EQ(waiting(), 1U);

  // Once it is stored and gone from here, too.
  (void)add(segment(4));
  drain();
  EXPECT_EQ(waiting(), 0U);
  EXPECT_EQ(add(path), Added::was_there);
  (void)segment(3, 50);
  EXPECT_THROW(add(path), repo::RefusedForSafety);
  EXPECT_EQ(stored(1, 3 * kSegment, kSegment),
            wal_segment({.begin = 3 * kSegment, .seed = 4}));
}

TEST_F(Push, WhatIsThereMayHaveBeenNamedByACallThatWasKilledBeforeItSynced) {
  const auto path = segment(3);
  const auto history = write("00000002.history", bytes_of("1\t0/300000\tx\n"));
  ASSERT_EQ(add(path), Added::added);
  ASSERT_EQ(add(history), Added::added);
  // A disk that fails, since one that loses power cannot be had here: what
  // does not ask it to sync has no right to say that all is well.
  const auto again = [this](const fs::path& file) {
    try {
      (void)PushedWal(spool_path()).add(inspect(file));
    } catch (const repo::IoError&) {
      return 7;
    }
    return 0;
  };
  for (const auto& file : {path, history}) {
    EXPECT_EXIT(
        {
          testing_support::deny_syscalls({SYS_fsync, SYS_fdatasync}, EIO);
          std::_Exit(again(file));
        },
        ::testing::ExitedWithCode(7), "");
  }
}

TEST_F(Push, ASpoolThatKnowsNothingAsksTheRepository) {
  (void)add(segment(3));
  (void)add(segment(4));
  drain();
  fs::remove_all(spools());
  auto repository = site.open();
  const auto ask = [&](const fs::path& path) {
    return compare_with_stored(repository, std::string(kWalSeries),
                               inspect(path), clock());
  };
  const PushedWal pushed(spool_path());
  EXPECT_EQ(pushed.compare(inspect(segment(4))), Known::elsewhere);
  EXPECT_EQ(ask(segment(4)), InRepository::all);
  EXPECT_EQ(ask(segment(5)), InRepository::not_all);
  const auto other = segment(4, 50);
  EXPECT_THROW((void)ask(other), repo::RefusedForSafety);
}

TEST_F(Push, WhatFollowsWhatIsKnownNeedsNoRepository) {
  const PushedWal pushed(spool_path());
  EXPECT_EQ(pushed.compare(inspect(segment(3))), Known::elsewhere);
  (void)add(segment(3));
  EXPECT_EQ(pushed.compare(inspect(segment(4))), Known::next);
  EXPECT_EQ(pushed.compare(inspect(segment(5))), Known::elsewhere);
  EXPECT_EQ(pushed.compare(inspect(segment(2))), Known::elsewhere);
  drain();
  EXPECT_EQ(pushed.compare(inspect(segment(4))), Known::next);
  EXPECT_EQ(pushed.compare(inspect(segment(5))), Known::elsewhere);
}

TEST_F(Push, SegmentsBecomeOneStream) {
  for (std::uint64_t number = 3; number < 9; ++number) {
    (void)add(segment(number));
    if (number % 2 == 0) drain();
  }
  drain();
  EXPECT_EQ(heard.flushes.size(), 3U);
  for (const auto& flush : heard.flushes) {
    EXPECT_EQ(flush.stream.start.value, 3 * kSegment);
  }
  EXPECT_TRUE(heard.warnings.empty());
  for (std::uint64_t number = 3; number < 9; ++number) {
    EXPECT_EQ(stored(1, number * kSegment, kSegment), content(segment(number)));
  }
}

TEST_F(Push, WhatIsMovedIntoARunIsNotCopied) {
  (void)add(segment(3));
  const fs::path kept = folder / "kept";
  fs::create_hard_link(spool_path() / "pushed/000000010000000000000003", kept);
  WalSpool spool(spool_path(), kSegment);
  EXPECT_TRUE(absorb_pushed(spool, nullptr, unknown).empty());
  EXPECT_EQ(waiting(), 0U);
  EXPECT_EQ(fs::hard_link_count(kept), 2U);
  EXPECT_EQ(spool.runs().front()->durable_end().value, 4 * kSegment);
}

TEST_F(Push, AStreamGoesOnFromTheRepository) {
  (void)add(segment(3));
  drain();
  fs::remove_all(spools());
  (void)add(segment(4));
  drain();
  EXPECT_EQ(heard.flushes.back().stream.start.value, 3 * kSegment);
  EXPECT_EQ(heard.flushes.back().end.value, 5 * kSegment);
}

TEST_F(Push, WhatCameLateIsStoredBeside) {
  (void)add(segment(7));
  drain();
  (void)add(segment(5));
  (void)add(segment(6));
  (void)add(segment(8));
  drain();
  const auto all = stored(1, 5 * kSegment, 4 * kSegment);
  EXPECT_EQ(all.size(), 4 * kSegment);
  EXPECT_TRUE(heard.warnings.empty());
}

TEST_F(Push, TheLastOneOfATimelineEndsWhereItsHistorySays) {
  (void)add(segment(3));
  const auto partial = segment(4, 1, 1, ".partial");
  EXPECT_THROW((void)inspect(partial), repo::RefusedForSafety);
  constexpr std::uint64_t kEnd = 4 * kSegment + 12345;
  const auto history =
      write("00000002.history", bytes_of("1\t" + to_string(Lsn{kEnd}) +
                                         "\tno recovery target specified\n"));
  (void)add(history);
  EXPECT_EQ(inspect(partial).bytes, 12345U);
  EXPECT_EQ(add(partial), Added::added);
  EXPECT_EQ(add(partial), Added::was_there);
  (void)add(segment(4, 9, 2));
  drain();
  EXPECT_EQ(waiting(), 0U);
  EXPECT_EQ(stored(1, 4 * kSegment, kSegment).size(), 12345U);
  EXPECT_EQ(stored(2, 4 * kSegment, kSegment).size(), kSegment);
  // Its history is stored with it, and another one of the name refused.
  (void)write("00000002.history", bytes_of("1\t0/300000\tanother\n"));
  EXPECT_THROW(add(history), repo::RefusedForSafety);
}

TEST_F(Push, BackupHistoriesStayForPeople) {
  const Bytes text = bytes_of("START WAL LOCATION: 0/300028 (file x)\n");
  for (int i = 0; i < 20; ++i) {
    const std::string digits = std::to_string(10 + i);
    (void)add(
        write("000000010000000000000003.000000" + digits + ".backup", text));
  }
  EXPECT_EQ(waiting(), 0U);
  const auto find = [this](const std::string& digits) {
    return find_pushed_text(
        spool_path(), *parse_wal_file_name("000000010000000000000003.000000" +
                                           digits + ".backup"));
  };
  EXPECT_EQ(find("29"), "START WAL LOCATION: 0/300028 (file x)\n");
  EXPECT_FALSE(find("13"));
  EXPECT_TRUE(find("14"));
}

TEST_F(Push, BesideAReceiverItsRunIsLeftAlone) {
  WalSpool spool(spool_path(), kSegment);
  const auto run = spool.begin_run(1, {5 * kSegment});
  run->write(wal_segment({.begin = 5 * kSegment, .seed = 6}));
  const Bytes next = content(segment(6));
  run->write(std::span(next).first(1000));
  run->sync();
  const Lsn end = run->end();
  for (const std::uint64_t number : {3U, 4U, 5U, 6U, 7U}) {
    (void)add(segment(number));
  }
  EXPECT_TRUE(absorb_pushed(spool, run.get(), unknown).empty());
  EXPECT_EQ(run->end(), end);
  EXPECT_EQ(spool.runs().back(), run);
  // What it has not got yet waits; what precedes it is a run of its own.
  EXPECT_EQ(waiting(), 2U);
  ASSERT_EQ(spool.runs().size(), 2U);
  EXPECT_EQ(spool.runs().front()->begin().value, 3 * kSegment);
  EXPECT_EQ(spool.runs().front()->end().value, 5 * kSegment);
}

TEST_F(Push, WhatAReceiverHasDifferentlyIsKeptAsideAndTold) {
  WalSpool spool(spool_path(), kSegment);
  const auto run = spool.begin_run(1, {5 * kSegment});
  (void)add(segment(5));
  run->write(wal_segment({.begin = 5 * kSegment, .seed = 60}));
  run->sync();
  const auto troubles = absorb_pushed(spool, run.get(), unknown);
  ASSERT_EQ(troubles.size(), 1U);
  EXPECT_NE(troubles[0].find(".conflict"), std::string::npos);
  EXPECT_EQ(waiting(), 0U);
  const auto path = segment(5);
  EXPECT_THROW(add(path), repo::RefusedForSafety);
}

// As one that was pushed while nobody could compare it.
class PushOfWhatIsLetGo : public Push {
 protected:
  PushOfWhatIsLetGo() {
    for (std::uint64_t number = 3; number < 7; ++number) {
      (void)add(segment(number));
    }
    drain();
  }

  void lose_digests() const { fs::remove(spool_path() / "digests"); }

  void name(const fs::path& path) const {
    fs::copy_file(path, spool_path() / "pushed" / path.filename());
  }

  [[nodiscard]] bool is_aside(const std::string& name) const {
    return fs::exists(spool_path() / "pushed" / (name + ".conflict"));
  }
};

constexpr const char* kLetGo = "000000010000000000000004";

TEST_F(PushOfWhatIsLetGo, ItsDigestTellsWhetherItIsTheSame) {
  WalSpool spool(spool_path(), kSegment);
  const auto run = spool.runs().front();
  ASSERT_GE(run->begin().value, 5 * kSegment);
  for (const WalRun* const in_use : {static_cast<const WalRun*>(run.get()),
                                     static_cast<const WalRun*>(nullptr)}) {
    name(segment(4));
    EXPECT_TRUE(absorb_pushed(spool, in_use, unknown).empty());
    EXPECT_EQ(waiting(), 0U);
    EXPECT_FALSE(is_aside(kLetGo));
    name(segment(4, 50));
    const auto troubles = absorb_pushed(spool, in_use, unknown);
    ASSERT_EQ(troubles.size(), 1U);
    EXPECT_NE(troubles[0].find(".conflict"), std::string::npos);
    EXPECT_EQ(waiting(), 0U);
    EXPECT_TRUE(is_aside(kLetGo));
    fs::remove(spool_path() / "pushed" / (std::string(kLetGo) + ".conflict"));
  }
}

TEST_F(PushOfWhatIsLetGo, TheRepositoryTellsWhereNoDigestIsKnown) {
  lose_digests();
  name(segment(4));
  drain();
  EXPECT_EQ(waiting(), 0U);
  EXPECT_TRUE(heard.warnings.empty());
  name(segment(4, 50));
  drain();
  EXPECT_EQ(waiting(), 0U);
  EXPECT_TRUE(is_aside(kLetGo));
  ASSERT_EQ(heard.warnings.size(), 1U);
  EXPECT_NE(heard.warnings[0].find(".conflict"), std::string::npos);
}

TEST_F(PushOfWhatIsLetGo, ItWaitsWhereNeitherTells) {
  lose_digests();
  name(segment(4, 50));
  auto repository = site.open_as(repo::Role::write);
  WalSpool spool(spool_path(), kSegment);
  auto to = store();
  flush_spool(spool, to, repository, nullptr, heard, {});
  EXPECT_EQ(waiting(), 1U);
  EXPECT_EQ(heard.warnings.size(), 1U);
}

TEST_F(Push, WhatAReceiverLeftUnfinishedIsFinished) {
  const Bytes whole = content(segment(5));
  {
    WalSpool spool(spool_path(), kSegment);
    const auto run = spool.begin_run(1, {5 * kSegment});
    run->write(std::span(whole).first(70'000));
    run->sync();
  }
  (void)add(segment(5));
  (void)add(segment(6));
  drain();
  ASSERT_EQ(heard.flushes.size(), 1U);
  EXPECT_EQ(heard.flushes[0].end.value, 7 * kSegment);
  EXPECT_EQ(stored(1, 5 * kSegment, kSegment), whole);
}

TEST_F(Push, ACrashAtAnyStepLosesNothing) {
  // Between moving a segment into a run and removing it, in the worst case.
  (void)add(segment(3));
  {
    WalSpool spool(spool_path(), kSegment);
    const auto run = spool.begin_run(1, {3 * kSegment});
    EXPECT_TRUE(
        run->link_segment(spool_path() / "pushed/000000010000000000000003"));
  }  // never synced: it counts as not written
  (void)add(segment(4));
  drain();
  EXPECT_EQ(stored(1, 3 * kSegment, 2 * kSegment).size(), 2 * kSegment);
}

TEST_F(Push, OnlyTheNewestDigestsAreKept) {
  fs::create_directories(spool_path());
  WalDigests digests(spool_path());
  const auto name = [](std::uint64_t i) {
    return segment_name(1, {i * kSegment}, kSegment);
  };
  // As a file of them that has grown for long.
  {
    std::ofstream out(spool_path() / "digests");
    for (std::uint64_t i = 0; i < 2 * WalDigests::kMost; ++i) {
      out << name(i) << ' ' << std::string(64, 'a') << '\n';
    }
    out << "torn 12";
  }
  WalDigests grown(spool_path());
  const std::uint64_t last = 2 * WalDigests::kMost;
  grown.add(name(last), {});
  const WalDigests again(spool_path());
  EXPECT_FALSE(again.find(name(0)));
  EXPECT_TRUE(again.find(name(last - 1)));
  EXPECT_EQ(again.find(name(last)), crypto::Digest{});
  EXPECT_EQ(again.last_with("00000001"), name(last));
  EXPECT_FALSE(again.last_with("00000002"));
  EXPECT_LT(fs::file_size(spool_path() / "digests"), WalDigests::kMost * 100);
}

}  // namespace
}  // namespace cairn::ingest
