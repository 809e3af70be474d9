#include "ingest/wal_store.h"

#include <gtest/gtest.h>

#include "ingest/wal_archive.h"
#include "repo/commit.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/pack_format.h"
#include "repo/session.h"
#include "tests/support/backup_site.h"
#include "tests/support/power_cut.h"

namespace cairn::ingest {
namespace {

using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::ChunkSizing;
using testing_support::TempFolder;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr Lsn kStart{3 * kSegment};
constexpr std::string_view kWalSeries = "host/pg/wal";

class WalInStore : public ::testing::Test {
 protected:
  WalInStore() { run = spool->begin_run(1, kStart); }

  static Bytes noise(std::size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    Bytes all(size);
    for (auto& byte : all) byte = static_cast<std::byte>(random());
    return all;
  }

  void receive(std::size_t size) {
    const Bytes bytes = noise(size, ++seed);
    run->write(bytes);
    run->sync();
    all.insert(all.end(), bytes.begin(), bytes.end());
  }

  WalStore store() const {
    return WalStore({77, kSegment, "15.18"}, {.series = std::string(kWalSeries),
                                              .host = "host",
                                              .user = "user",
                                              .program = "test",
                                              .clock = [this] {
                                                return repo::Timestamp{now, 0};
                                              }});
  }

  WalFlush flush(repo::Repository& repository) {
    auto done = store().flush(repository, *run, histories, {});
    EXPECT_TRUE(done.has_value());
    return *done;
  }

  std::vector<StoredWal> stored(repo::Repository& repository) {
    list = repository.snapshots({1'800'000'000, 0});
    return find_wal(list.snapshots,
                    repo::series_tag(repository.keyring(), kWalSeries));
  }

  // All that readers get from the first byte on.
  Bytes read_all(repo::Repository& repository) {
    WalReader reader(repository, stored(repository));
    Bytes out(all.size() + 10);
    out.resize(reader.read(1, kStart, out));
    return out;
  }

  void damage(repo::Repository& repository, const repo::Link& row) {
    for (const auto& copy : repository.index().find(row.id)) {
      site.disk().flip_bit(
          repo::pack_name(repository.index().pack(copy.pack).id), copy.offset,
          3);
    }
  }

  BackupSite site{ChunkSizing::as_by_default};
  TempFolder folder;
  std::optional<WalSpool> spool{std::in_place, folder.path() / "spool",
                                kSegment};
  std::shared_ptr<WalRun> run;
  std::map<std::uint32_t, std::string> histories;
  repo::SnapshotList list;
  Bytes all;
  unsigned seed = 0;
  std::int64_t now = 1'800'000'000;  // seconds
};

TEST_F(WalInStore, GrowsByWhatIsNewAndIsOneSnapshot) {
  auto repository = site.open();
  receive(10'000'000);
  EXPECT_GT(flush(repository).bytes_stored, 9'000'000U);
  for (const std::size_t size : {100'000U, 1U, 65'536U, 3'000'000U, 10U}) {
    receive(size);
    const auto done = flush(repository);
    EXPECT_FALSE(done.began_anew);
    EXPECT_EQ(done.end.value - done.begin.value, size);
    EXPECT_LT(done.bytes_stored, size + size / 10 + 100'000);
    const auto wal = stored(repository);
    ASSERT_EQ(wal.size(), 1U);
    EXPECT_EQ(wal.front().end, run->end());
    EXPECT_EQ(wal.front().snapshot->snapshot.id, done.snapshot);
  }
  EXPECT_EQ(read_all(repository), all);
  EXPECT_TRUE(damage_in(site).empty());
  EXPECT_EQ(store().flush(repository, *run, histories, {}), std::nullopt);
}

TEST_F(WalInStore, AClockThatJumpsEitherWayLosesNothing) {
  constexpr std::int64_t kYear = 365 * 86'400;
  auto repository = site.open();
  for (const std::int64_t jump : {0L, 10 * kYear, -25 * kYear, 15 * kYear}) {
    now += jump;
    receive(300'000);
    EXPECT_FALSE(flush(repository).began_anew);
    EXPECT_EQ(stored(repository).size(), 1U);
    EXPECT_EQ(read_all(repository), all);
  }
  EXPECT_TRUE(damage_in(site).empty());
}

TEST_F(WalInStore, IsReadFromAnyPlace) {
  auto repository = site.open();
  for (const std::size_t size : {70'000U, 200'001U, 3'000'000U}) {
    receive(size);
    (void)flush(repository);
  }
  WalReader reader(repository, stored(repository));
  EXPECT_EQ(
      reader.ranges(1),
      (std::vector<WalReader::Range>{{kStart, {kStart.value + all.size()}}}));
  EXPECT_TRUE(reader.ranges(2).empty());
  std::mt19937_64 random(5);
  for (int i = 0; i < 200; ++i) {
    const auto at = random() % (all.size() + 100);
    Bytes out(random() % 200'000);
    const auto count = reader.read(1, {kStart.value + at}, out);
    const auto there = at < all.size() ? all.size() - at : 0;
    ASSERT_EQ(count, std::min(out.size(), there));
    ASSERT_TRUE(std::ranges::equal(
        std::span(out).first(count),
        std::span(all).subspan(std::min<std::size_t>(at, all.size()), count)));
  }
  Bytes out(10);
  EXPECT_EQ(reader.read(1, {kStart.value - 1}, out), 0U);
  EXPECT_EQ(reader.read(2, kStart, out), 0U);
}

TEST_F(WalInStore, TwoReceiversStoreTheSameChunksOnce) {
  auto repository = site.open();
  receive(4'000'000);
  (void)flush(repository);
  WalSpool other(folder.path() / "other", kSegment);
  const auto theirs = other.begin_run(1, kStart);
  theirs->write(all);
  theirs->sync();
  const auto done = store().flush(repository, *theirs, histories, {});
  EXPECT_LT(done->bytes_stored, 200'000U);
  EXPECT_EQ(read_all(repository), all);
}

TEST_F(WalInStore, AfterAForgottenPredecessorAStreamBeginsWithWhatIsHeld) {
  auto repository = site.open();
  receive(2 * kSegment + 1000);
  const auto first = flush(repository);
  (void)repo::forget_snapshot(repository, first.snapshot, "by a person",
                              {1'800'000'000, 0});
  receive(500);
  const auto second = flush(repository);
  EXPECT_TRUE(second.began_anew);
  EXPECT_EQ(second.stream.start.value, kStart.value + 2 * kSegment);
  EXPECT_EQ(second.begin, second.stream.start);
  EXPECT_EQ(second.end, run->end());
}

TEST_F(WalInStore, ACommitThatWasNotNotedIsCoveredByTheNext) {
  auto repository = site.open();
  receive(kSegment + 1000);
  const auto first = flush(repository);
  // As after a crash between the commit and the note of it.
  receive(1000);
  std::filesystem::path note;
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(folder.path())) {
    if (file.path().filename() == "committed") note = file.path();
  }
  std::filesystem::copy_file(note, folder.path() / "kept");
  (void)flush(repository);
  std::filesystem::copy_file(folder.path() / "kept", note,
                             std::filesystem::copy_options::overwrite_existing);
  run.reset();
  spool.reset();
  spool.emplace(folder.path() / "spool", kSegment);
  run = spool->runs().front();
  EXPECT_EQ(run->committed()->snapshot, first.snapshot);
  receive(1000);
  (void)flush(repository);
  EXPECT_EQ(read_all(repository), all);
}

TEST_F(WalInStore, ACopyOfThisMachineForgetsNothingOfIt) {
  auto repository = site.open();
  receive(1000);
  (void)flush(repository);
  std::filesystem::copy(folder.path() / "spool", folder.path() / "copy",
                        std::filesystem::copy_options::recursive);
  receive(2000);
  const auto ours = flush(repository);
  WalSpool copy(folder.path() / "copy", kSegment);
  const auto theirs = copy.runs().front();
  for (int i = 0; i < 2; ++i) {
    theirs->write(noise(3000, 99));
    theirs->sync();
    (void)store().flush(repository, *theirs, histories, {});
    const auto wal = stored(repository);
    EXPECT_TRUE(std::ranges::any_of(wal, [&](const StoredWal& one) {
      return one.snapshot->snapshot.id == ours.snapshot;
    }));
    EXPECT_EQ(wal.size(), 2U);
  }
}

TEST_F(WalInStore, HasNoHoleWhicheverWriteThePowerCutHits) {
  namespace fs = std::filesystem;
  {
    auto repository = site.open();
    receive(kSegment + 300'000);
    (void)flush(repository);
    receive(200'000);
  }
  const fs::path folders[] = {folder.path() / "spool", folder.path() / "kept"};
  const auto open_spool = [&] {
    run.reset();
    spool.reset();
    spool.emplace(folders[0], kSegment);
    run = spool->runs().front();
  };
  fs::copy(folders[0], folders[1], fs::copy_options::recursive);
  site.keep();
  const Bytes received = all;
  for (const auto falls : {testing_support::CutFalls::before_effect,
                           testing_support::CutFalls::after_effect}) {
    bool has_happened = true;
    for (std::size_t writes = 0; has_happened; ++writes) {
      SCOPED_TRACE("power cut at write " + std::to_string(writes));
      site.go_back();
      run.reset();
      spool.reset();
      fs::remove_all(folders[0]);
      fs::copy(folders[1], folders[0], fs::copy_options::recursive);
      open_spool();
      all = received;
      testing_support::PowerCut storage(site.disk(), writes, falls);
      try {
        auto repository = site.open_through(storage);
        (void)flush(repository);
      } catch (const repo::IoError&) {
        EXPECT_TRUE(storage.has_happened());
      }
      has_happened = storage.has_happened();

      // What readers find is never less than before; then it goes on.
      open_spool();
      auto repository = site.open();
      EXPECT_GE(read_all(repository).size(), kSegment + 300'000);
      receive(1000);
      EXPECT_FALSE(flush(repository).began_anew);
      EXPECT_EQ(stored(repository).size(), 1U);
      EXPECT_EQ(read_all(repository), all);
      EXPECT_EQ(damage_in(site), std::vector<std::string>{});
      if (HasFailure()) return;
    }
  }
}

TEST_F(WalInStore, AWriteKeyGoesOnAndItsPredecessorsAreCovered) {
  auto writer = site.open_as(repo::Role::write);
  for (int i = 0; i < 3; ++i) {
    receive(300'000);
    EXPECT_FALSE(flush(writer).began_anew);
  }
  auto repository = site.open();
  EXPECT_EQ(stored(repository).size(), 3U);
  EXPECT_EQ(read_all(repository), all);
  std::vector<const repo::ValidSnapshot*> snapshots;
  for (const auto& valid : list.snapshots) snapshots.push_back(&valid);
  const auto covered = find_covered_wal(repository, snapshots);
  ASSERT_EQ(covered.size(), 2U);
  for (const auto& one : covered) {
    EXPECT_EQ(one.by, stored(repository).back().snapshot->snapshot.id);
  }
}

TEST_F(WalInStore, OtherWalOfTheSameNameCoversNothing) {
  auto repository = site.open();
  receive(1'000'000);
  (void)flush(repository);
  WalSpool other(folder.path() / "other", kSegment);
  const auto theirs = other.begin_run(1, kStart);
  theirs->write(noise(3'000'000, 99));
  theirs->sync();
  // By another host, whose snapshots are not ours to forget.
  auto elsewhere = site.open_as(repo::Role::write);
  (void)store().flush(elsewhere, *theirs, histories, {});
  EXPECT_EQ(stored(repository).size(), 2U);
  std::vector<const repo::ValidSnapshot*> snapshots;
  for (const auto& valid : list.snapshots) snapshots.push_back(&valid);
  EXPECT_TRUE(find_covered_wal(repository, snapshots).empty());
}

// A base backup as far as WAL has to do with it.
class WalAndBases : public WalInStore {
 protected:
  repo::SessionId add_base(repo::Repository& repository, std::uint64_t system,
                           std::optional<Lsn> start,
                           std::string_view series = "host/pg",
                           std::uint32_t timeline = 1) {
    repo::Session session(repository.storage(), repository.keyring(),
                          repository.signer(), {1'800'000'000, 0});
    repo::SnapshotRecord record;
    record.series = series;
    auto& source = record.sources.emplace_back();
    source.kind = repo::SourceKind::postgres_base;
    if (start) source.facts.push_back({"start_lsn", to_string(*start)});
    source.facts.push_back({"system_identifier", std::to_string(system)});
    source.facts.push_back({"timeline", std::to_string(timeline)});
    repo::SnapshotHeader header;
    header.root = stored(repository).front().snapshot->snapshot.header.root;
    auto chain = repository.host_state().lock_chain(record.series);
    (void)repo::commit_snapshot(repository, chain, session, header, record, {},
                                [] { return repo::Timestamp{}; });
    session.end();
    return session.id();
  }

  std::vector<CoveredWal> needless(repo::Repository& repository) {
    (void)stored(repository);
    std::vector<const repo::ValidSnapshot*> snapshots;
    for (const auto& valid : list.snapshots) snapshots.push_back(&valid);
    return find_covered_wal(repository, snapshots);
  }
};

TEST_F(WalAndBases, NothingIsLeftOutWhileABaseMayBeUnreadable) {
  auto repository = site.open();
  receive(20 * kSegment + 500);
  (void)flush(repository);
  const auto first =
      add_base(repository, 77, Lsn{kStart.value + 2 * kSegment + 77});
  (void)add_base(repository, 77, Lsn{kStart.value + 9 * kSegment + 1234});
  site.disk().flip_bit("snapshots/" + first.hex(), 100, 0);
  receive(1000);
  const auto done = flush(repository);
  EXPECT_FALSE(done.trimmed_from);
  EXPECT_EQ(read_all(repository), all);
}

TEST_F(WalAndBases, ASuccessorLeavesOutWhatPrecedesTheOldestBase) {
  auto repository = site.open();
  receive(20 * kSegment + 500);
  (void)flush(repository);
  const auto first =
      add_base(repository, 77, Lsn{kStart.value + 2 * kSegment + 77});
  (void)add_base(repository, 77, Lsn{kStart.value + 9 * kSegment + 1234});
  receive(1000);
  EXPECT_FALSE(flush(repository).trimmed_from);  // not worth it
  (void)repo::forget_snapshot(repository, first, "old", {1'800'000'000, 0});
  receive(1000);
  const auto done = flush(repository);
  EXPECT_EQ(done.trimmed_from, kStart);
  EXPECT_EQ(done.stream.start.value, kStart.value + 9 * kSegment);
  EXPECT_EQ(done.end.value, kStart.value + all.size());
  EXPECT_LT(done.bytes_stored, 200'000U);
  const auto wal = stored(repository);
  ASSERT_EQ(wal.size(), 1U);
  EXPECT_EQ(wal.front().stream.start, done.stream.start);
  WalReader reader(repository, wal);
  Bytes kept(all.size() - 9 * kSegment);
  EXPECT_EQ(reader.read(1, done.stream.start, kept), kept.size());
  EXPECT_TRUE(std::equal(kept.begin(), kept.end(),
                         all.begin() + std::ptrdiff_t{9} * kSegment));
  receive(3000);
  EXPECT_FALSE(flush(repository).trimmed_from);
  EXPECT_EQ(stored(repository).size(), 1U);
  EXPECT_EQ(damage_in(site), std::vector<std::string>{});
}

TEST_F(WalAndBases, NothingIsLeftOutWhileAListThatStaysIsDamaged) {
  auto repository = site.open();
  std::vector<repo::Link> lists;
  // Where lists end depends on the repository's keys.
  while (lists.size() < 3 || lists.front().kind != repo::BlobKind::links) {
    receive(10 * kSegment);
    (void)flush(repository);
    auto blobs = repository.blobs();
    lists = repo::decode_links(
        *blobs.read(repo::BlobKind::links, run->committed()->rows.front().id),
        "the list");
  }
  damage(repository, lists.at(lists.size() - 2));
  (void)add_base(repository, 77,
                 Lsn{run->end().value - lists.back().length - 1});
  const Lsn before = run->end();
  repository = site.open();
  receive(1000);
  const auto done = flush(repository);
  EXPECT_FALSE(done.began_anew);
  EXPECT_FALSE(done.trimmed_from);
  EXPECT_EQ(done.begin, before);
  EXPECT_EQ(stored(repository).size(), 1U);
}

TEST_F(WalAndBases, NothingIsLeftOutForOtherBases) {
  auto repository = site.open();
  receive(10 * kSegment);
  (void)flush(repository);
  const Lsn late{kStart.value + 9 * kSegment};
  (void)add_base(repository, 78, late);  // of another cluster
  (void)add_base(repository, 77, late, "host/other");
  receive(1000);
  EXPECT_FALSE(flush(repository).trimmed_from);
  (void)add_base(repository, 77, late);
  (void)add_base(repository, 77, std::nullopt);  // may need all
  receive(1000);
  EXPECT_FALSE(flush(repository).trimmed_from);
  EXPECT_TRUE(needless(repository).empty());
}

TEST_F(WalAndBases, ABaseAheadOfWhatIsStoredLeavesTheLastSegment) {
  auto repository = site.open();
  receive(10 * kSegment + 500);
  (void)flush(repository);
  (void)add_base(repository, 77, Lsn{kStart.value + 30 * kSegment});
  receive(1000);
  const auto done = flush(repository);
  EXPECT_EQ(done.stream.start.value, kStart.value + 10 * kSegment);
  EXPECT_EQ(done.end, run->end());
  EXPECT_EQ(stored(repository).size(), 1U);
}

TEST_F(WalAndBases, AStreamThatEndedBeforeTheOldestBaseIsNeedless) {
  auto repository = site.open();
  receive(2 * kSegment);
  const auto old = flush(repository);
  run = spool->begin_run(2, {kStart.value + kSegment});
  receive(4 * kSegment);
  (void)flush(repository);
  EXPECT_TRUE(needless(repository).empty());
  (void)add_base(repository, 77, Lsn{kStart.value + 2 * kSegment});
  const auto found = needless(repository);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().covered, old.snapshot);
  EXPECT_EQ(found.front().by, std::nullopt);
}

TEST_F(WalInStore, ADamagedListIsLeftAndAStreamBeginsAnew) {
  for (const std::size_t before : {std::size_t{0}, 5 * kSegment}) {
    SCOPED_TRACE(before);
    auto repository = site.open();
    receive(before + 900'000);
    const auto first = flush(repository);
    ASSERT_EQ(run->committed()->rows.front().kind, repo::BlobKind::links);
    damage(repository, run->committed()->rows.front());
    receive(1000);
    // A process that has not read it yet.
    repository = site.open();
    const auto second = flush(repository);
    ASSERT_TRUE(second.began_anew);
    EXPECT_NE(second.began_anew->find(first.snapshot.brief()),
              std::string::npos);
    EXPECT_EQ(second.stream.start, segment_begin(first.end, kSegment));
    EXPECT_EQ(second.begin, second.stream.start);
    EXPECT_EQ(second.end, run->end());
    receive(1000);
    EXPECT_FALSE(flush(repository).began_anew);
    const auto wal = stored(repository);
    EXPECT_TRUE(std::ranges::any_of(wal, [&](const StoredWal& one) {
      return one.snapshot->snapshot.id == first.snapshot;
    }));
  }
}

TEST_F(WalInStore, ADamagedStreamIsNotAdopted) {
  for (const auto kind : {repo::BlobKind::links, repo::BlobKind::content}) {
    auto repository = site.open();
    receive(3 * kSegment + 4321);
    (void)flush(repository);
    repo::Link row = run->committed()->rows.front();
    if (kind == repo::BlobKind::content) {
      auto blobs = repository.blobs();
      repo::StreamCursor chunks(blobs, {row});
      const auto last = chunks.at(row.length - 1);
      row = {kind, last->id, last->length};
    }
    damage(repository, row);
    repository = site.open_elsewhere();
    WalSpool other(folder.path() / "other", kSegment);
    const auto adopted = store().adopt(repository, other, 1);
    EXPECT_EQ(adopted.run, nullptr);
    EXPECT_TRUE(adopted.warning);
    EXPECT_TRUE(other.runs().empty());
  }
}

TEST_F(WalInStore, IsAdoptedByAHostThatKnowsNothing) {
  {
    auto repository = site.open();
    receive(3 * kSegment + 4321);
    (void)flush(repository);
  }
  auto repository = site.open_elsewhere();
  WalSpool other(folder.path() / "other", kSegment);
  EXPECT_EQ(store().adopt(repository, other, 2).run, nullptr);
  const auto adopted = store().adopt(repository, other, 1);
  EXPECT_EQ(adopted.warning, std::nullopt);
  run = adopted.run;
  ASSERT_TRUE(run);
  EXPECT_EQ(run->end().value, kStart.value + all.size());
  EXPECT_EQ(run->begin().value, kStart.value + 3 * kSegment);
  EXPECT_EQ(run->uncommitted_bytes(), 0U);
  receive(100);
  EXPECT_FALSE(flush(repository).began_anew);
  EXPECT_EQ(stored(repository).size(), 1U);
  EXPECT_EQ(read_all(repository), all);
}

TEST_F(WalAndBases, ABaseOfAnotherTimelineMakesNothingNeedless) {
  auto repository = site.open();
  run = spool->begin_run(2, kStart);
  receive(10 * kSegment);
  (void)flush(repository);
  // One of timeline 2 may be being made meanwhile, from an earlier place on.
  (void)add_base(repository, 77, Lsn{kStart.value + 20 * kSegment});
  EXPECT_TRUE(needless(repository).empty());
  receive(1000);
  EXPECT_FALSE(flush(repository).trimmed_from);
  (void)add_base(repository, 77, Lsn{kStart.value + 8 * kSegment}, "host/pg",
                 2);
  receive(1000);
  const auto done = flush(repository);
  EXPECT_EQ(done.trimmed_from, kStart);
  EXPECT_EQ(done.stream.start.value, kStart.value + 8 * kSegment);
}

TEST_F(WalAndBases, ABaseOfADescendantMakesNeedlessWhatPrecedesTheFork) {
  auto repository = site.open();
  receive(2 * kSegment);
  const auto old = flush(repository);
  run = spool->begin_run(2, run->end());
  receive(4 * kSegment);
  (void)flush(repository);
  (void)add_base(repository, 77, Lsn{kStart.value + 3 * kSegment}, "host/pg",
                 2);
  EXPECT_TRUE(needless(repository).empty());  // whose descendant it is?
  for (const auto* const fork : {"0/4FFFFF", "0/500000"}) {
    histories = {{2, std::string("1\t") + fork + "\tx\n"}};
    receive(1000);
    (void)flush(repository);
    const auto found = needless(repository);
    ASSERT_EQ(found.size(), fork == std::string_view("0/500000") ? 1U : 0U);
    for (const auto& one : found) EXPECT_EQ(one.covered, old.snapshot);
  }
}

TEST_F(WalInStore, CarriesTheHistoryOfItsTimeline) {
  auto repository = site.open();
  run = spool->begin_run(3, {64 * kSegment});
  histories = {{2, "1\t0/1\tx\n"}, {3, "1\t0/1\tx\n2\t0/2\ty\n"}};
  receive(100);
  (void)flush(repository);
  WalReader reader(repository, stored(repository));
  EXPECT_EQ(reader.history(3), histories[3]);
  EXPECT_EQ(reader.history(2), histories[2]);
  EXPECT_EQ(reader.history(1), std::nullopt);
  EXPECT_EQ(reader.history(4), std::nullopt);
  EXPECT_TRUE(damage_in(site).empty());
}

}  // namespace
}  // namespace cairn::ingest
