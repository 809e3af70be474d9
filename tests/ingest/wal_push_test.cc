#include "ingest/wal_push.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "ingest/wal_archive.h"
#include "ingest/wal_digests.h"
#include "ingest/wal_drain.h"
#include "ingest/wal_fetch.h"
#include "ingest/wal_fetch_ahead.h"
#include "ingest/wal_store.h"
#include "ingest/whole_file.h"
#include "repo/error.h"
#include "tests/support/backup_site.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wal_segment.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::ChunkSizing;
using testing_support::TempFolder;
using testing_support::wal_segment;
using testing_support::WalSegmentOf;
using Known = PushedWal::Known;
using Added = PushedWal::Added;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr std::uint64_t kSystem = 77;
constexpr std::string_view kWalSeries = "host/pg/wal";

class Silent : public WalEvents {
 public:
  void receiving(const WalStart&) override {}
  void gap(const WalGap&) override {}
  void note(const std::string&) override {}
  void flushed(const WalFlush& flush) override { flushes.push_back(flush); }
  void warning(const std::string& text) override { warnings.push_back(text); }

  std::vector<WalFlush> flushes;
  std::vector<std::string> warnings;
};

// A server's data directory, a spool, a repository.
class Push : public ::testing::Test {
 protected:
  Push() {
    fs::create_directories(folder / "data/pg_wal");
    fs::create_directories(folder / "data/global");
    std::ofstream out(folder / "data/global/pg_control", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&kSystem), sizeof kSystem);
  }

  static repo::Timestamp clock() { return {1'800'000'000, 0}; }

  [[nodiscard]] fs::path data() const { return folder / "data"; }
  [[nodiscard]] fs::path spools() const { return folder / "spools"; }
  [[nodiscard]] fs::path spool_path() const {
    return spools() / std::to_string(kSystem);
  }

  fs::path write(const std::string& name, const Bytes& bytes) const {
    const fs::path path = data() / "pg_wal" / name;
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  // Segment `number` of a timeline, as the server has it now.
  fs::path segment(std::uint64_t number, unsigned seed = 1,
                   std::uint32_t timeline = 1,
                   const std::string& suffix = "") const {
    const WalSegmentOf of{.timeline = timeline,
                          .begin = number * kSegment,
                          .seed = seed + static_cast<unsigned>(number)};
    return write(segment_name(timeline, {of.begin}, kSegment) + suffix,
                 wal_segment(of));
  }

  [[nodiscard]] WalToPush inspect(const fs::path& path) const {
    return inspect_wal_to_push(path, data());
  }

  Added add(const fs::path& path) const {
    PushedWal pushed(spool_path());
    const auto added = pushed.add(inspect(path));
    note_spooled_cluster(spool_path(), {kSystem, kSegment, "15"});
    return added;
  }

  [[nodiscard]] std::size_t waiting() const {
    return PushedWal(spool_path()).waiting().size();
  }

  static WalStore store() {
    return WalStore({kSystem, kSegment, "15"},
                    {.series = std::string(kWalSeries),
                     .host = "host",
                     .user = "user",
                     .program = "test",
                     .clock = clock});
  }

  void drain() {
    auto repository = site.open();
    WalSpool spool(spool_path(), kSegment);
    auto to = store();
    flush_spool(spool, to, repository, nullptr, heard, {});
  }

  // What the repository has of a timeline from a place on.
  Bytes stored(std::uint32_t timeline, std::uint64_t from, std::size_t size) {
    auto repository = site.open();
    const auto list = repository.snapshots(clock());
    WalReader reader(repository, find_wal(list.snapshots,
                                          repo::series_tag(repository.keyring(),
                                                           kWalSeries)));
    Bytes bytes(size);
    bytes.resize(reader.read(timeline, {from}, bytes));
    return bytes;
  }

  static Bytes content(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    return bytes_of(text);
  }

  TempFolder folder;
  BackupSite site{ChunkSizing::as_by_default};
  Silent heard;
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
  EXPECT_TRUE(absorb_pushed(spool, run.get()).empty());
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
  const auto troubles = absorb_pushed(spool, run.get());
  ASSERT_EQ(troubles.size(), 1U);
  EXPECT_NE(troubles[0].find(".conflict"), std::string::npos);
  EXPECT_EQ(waiting(), 0U);
  const auto path = segment(5);
  EXPECT_THROW(add(path), repo::RefusedForSafety);
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
    run->write(content(segment(3)));
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

// Reading it back

class Fetch : public Push {
 protected:
  void begin() {
    repository.emplace(site.open());
    list = repository->snapshots(clock());
    fetch.emplace(*repository, list,
                  WalFetch::Where{.series = std::string(kWalSeries),
                                  .system = kSystem,
                                  .spools = spools()});
  }
  Bytes read(const std::string& name) {
    Bytes all;
    fetch->read(*parse_wal_file_name(name),
                [&](std::span<const std::byte> piece) {
                  all.insert(all.end(), piece.begin(), piece.end());
                });
    return all;
  }
  std::uint64_t available(const std::string& name) {
    return fetch->available(*parse_wal_file_name(name));
  }

  std::optional<repo::Repository> repository;
  repo::SnapshotList list;
  std::optional<WalFetch> fetch;
};

TEST_F(Fetch, ComesFromTheRepositoryOrTheSpoolWhicheverHasMore) {
  (void)add(segment(3));
  drain();
  (void)add(segment(4));
  {
    WalSpool spool(spool_path(), kSegment);
    const auto run = spool.begin_run(1, {5 * kSegment});
    const Bytes whole = content(segment(5));
    run->write(std::span(whole).first(5000));
    run->sync();
    run->write(Bytes(5));  // not synced
  }
  begin();
  EXPECT_EQ(read("000000010000000000000003"), content(segment(3)));
  EXPECT_EQ(read("000000010000000000000004"), content(segment(4)));
  EXPECT_EQ(available("000000010000000000000005"), 5000U);
  EXPECT_EQ(read("000000010000000000000005").size(), 5000U);
  EXPECT_EQ(available("000000010000000000000006"), 0U);
  EXPECT_EQ(available("000000020000000000000004"), 0U);
  EXPECT_FALSE(fetch->history(2));
}

TEST_F(Fetch, AGapIsTold) {
  (void)add(segment(3));
  (void)add(segment(6));
  drain();
  begin();
  EXPECT_EQ(available("000000010000000000000004"), 0U);
  const auto gap =
      fetch->gap_at(*parse_wal_file_name("000000010000000000000004"));
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->begin.value, 4 * kSegment);
  EXPECT_EQ(gap->end.value, 6 * kSegment);
  EXPECT_FALSE(fetch->gap_at(*parse_wal_file_name("000000010000000000000008")));
  EXPECT_FALSE(fetch->gap_at(*parse_wal_file_name("000000010000000000000001")));
}

TEST_F(Fetch, WhereAnythingCannotBeReadAbsenceIsNotCertain) {
  (void)add(segment(3));
  drain();
  begin();
  EXPECT_EQ(available("000000010000000000000004"), 0U);
  list.damage.emplace_back("snapshots/00 is damaged");
  fetch.emplace(*repository, list,
                WalFetch::Where{.series = std::string(kWalSeries),
                                .system = kSystem,
                                .spools = spools()});
  EXPECT_EQ(available("000000010000000000000003"), kSegment);
  EXPECT_THROW((void)available("000000010000000000000004"),
               repo::CorruptionError);
  EXPECT_THROW((void)fetch->history(2), repo::CorruptionError);
}

TEST_F(Fetch, ASeriesWithoutThatClusterIsNoAnswer) {
  (void)add(segment(3));
  drain();
  begin();
  const auto where = [&](std::string series, std::uint64_t system) {
    return WalFetch::Where{
        .series = std::move(series), .system = system, .spools = spools()};
  };
  EXPECT_THROW(WalFetch(*repository, list, where("host/other/wal", kSystem)),
               repo::NotFound);
  EXPECT_THROW(WalFetch(*repository, list, where(std::string(kWalSeries), 78)),
               repo::NotFound);
}

class Ahead : public Fetch {
 protected:
  void SetUp() override {
    for (std::uint64_t number = 3; number < 8; ++number) {
      (void)add(segment(number));
    }
    drain();
    begin();
  }
  static WalFileName name(std::uint64_t number) {
    return *parse_wal_file_name(segment_name(1, {number * kSegment}, kSegment));
  }
  // Nothing: it is not there.
  std::optional<Bytes> take(std::uint64_t number) {
    const fs::path target = folder / "target";
    fs::remove(target);
    WholeFile file(target, WholeFile::Durability::of_the_caller);
    if (!ahead.take(name(number), file)) return std::nullopt;
    std::move(file).name_or_replace();
    return content(target);
  }
  [[nodiscard]] fs::path place(std::uint64_t number) const {
    return folder / "ahead" / name(number).text;
  }

  WalFetchAhead ahead{folder / "ahead"};
};

TEST_F(Ahead, HandsOutWhatFollowsAsOftenAsItIsAskedFor) {
  ahead.fill(*fetch, name(3), 3 * kSegment);
  EXPECT_FALSE(take(3));
  EXPECT_EQ(take(4), content(segment(4)));
  EXPECT_EQ(take(5), content(segment(5)));
  EXPECT_EQ(take(5), content(segment(5)));
  EXPECT_FALSE(take(4));  // it went with the one behind it
  EXPECT_EQ(take(6), content(segment(6)));
  EXPECT_FALSE(take(7));  // more than was allowed
}

TEST_F(Ahead, HandsOutNothingThatHasChanged) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{5000},
                               std::size_t{kSegment}, kSegment + 31}) {
    ahead.clear();
    ahead.fill(*fetch, name(3), 3 * kSegment);
    std::fstream file(place(4),
                      std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    file.close();
    EXPECT_FALSE(take(4)) << at;
    EXPECT_FALSE(fs::exists(place(4)));
  }
  ahead.fill(*fetch, name(3), 3 * kSegment);
  fs::resize_file(place(4), kSegment / 2);
  EXPECT_FALSE(take(4));
  fs::rename(place(5), place(6));  // another one's
  EXPECT_FALSE(take(6));
}

TEST_F(Ahead, KeepsNoMoreThanWasAllowed) {
  ahead.fill(*fetch, name(3), 4 * kSegment);
  std::ofstream(place(99)) << "left by somebody";
  ahead.fill(*fetch, name(5), 2 * kSegment);
  EXPECT_FALSE(fs::exists(place(4)));
  EXPECT_FALSE(fs::exists(place(99)));
  EXPECT_TRUE(fs::exists(place(6)));
  EXPECT_TRUE(fs::exists(place(7)));
  ahead.clear();
  EXPECT_FALSE(take(6));
}

}  // namespace
}  // namespace cairn::ingest
