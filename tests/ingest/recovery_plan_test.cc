#include "ingest/recovery_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ingest/backup.h"
#include "ingest/postgres_base.h"
#include "ingest/tree_stream.h"
#include "ingest/wal_spool.h"
#include "ingest/wal_store.h"
#include "repo/error.h"
#include "tests/support/backup_site.h"
#include "tests/support/wal_bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::ChunkSizing;
using testing_support::run_backup;
using testing_support::TempFolder;
using testing_support::WalBytes;
using Kind = RecoveryTarget::Kind;

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr std::uint64_t kSystem = 77;
constexpr Lsn kStart{3 * kSegment};
constexpr std::string_view kBases = "host/pg";
constexpr std::string_view kWal = "host/pg/wal";

// So many seconds after noon.
WalTime at(double seconds) {
  return {800'000'000'000'000 + static_cast<std::int64_t>(seconds * 1'000'000)};
}

struct Item {
  std::string path;
  Bytes content;
};

class BaseTree : public TreeStream {
 public:
  BaseTree(std::vector<Item> items, std::vector<repo::Fact> facts)
      : items_(std::move(items)), facts_(std::move(facts)) {}

  std::optional<Member> next(const std::stop_token&) override {
    if (next_ == items_.size()) return std::nullopt;
    const auto& item = items_[next_++];
    read_ = 0;
    Member member{item.path, {}};
    member.entry.name = item.path.substr(item.path.rfind('/') + 1);
    member.entry.mode = 0600;
    member.entry.type = repo::EntryType::file;
    member.entry.size = item.content.size();
    return member;
  }

  std::size_t read(std::span<std::byte> out, const std::stop_token&) override {
    const auto& content = items_[next_ - 1].content;
    const auto size = std::min(out.size(), content.size() - read_);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(read_), size,
                out.begin());
    read_ += size;
    return size;
  }

  std::uint64_t expected_bytes() const override { return 0; }

  Outcome finish(const std::stop_token&) override {
    Outcome outcome;
    outcome.facts = facts_;
    return outcome;
  }

 private:
  std::vector<Item> items_;
  std::vector<repo::Fact> facts_;
  std::size_t next_ = 0;
  std::size_t read_ = 0;
};

class Recovery : public ::testing::Test {
 protected:
  // Of that stretch, with its own WAL; when it ended is not known without
  // `seconds`.
  void store_base(WalBytes& wal, Lsn start, Lsn end, std::optional<int> seconds,
                  std::uint32_t timeline = 1,
                  const std::string& source = "primary") {
    std::vector<Item> items{{"PG_VERSION", bytes_of("15\n")}};
    const auto own = RecoveryBase{.start = start,
                                  .end = end,
                                  .end_time = {},
                                  .segment_bytes = kSegment,
                                  .version = {},
                                  .is_of_standby = source == "standby"}
                         .own_wal();
    for (Lsn segment = own.begin; segment < own.end;
         segment.value += kSegment) {
      Bytes content(kSegment);
      (void)wal.reader()(segment, content);
      items.push_back({"pg_wal/" + segment_name(timeline, segment, kSegment),
                       std::move(content)});
    }
    std::vector<repo::Fact> facts = {
        {"end_lsn", to_string(end)},
        {"server_version", "15.18"},
        {"source", source},
        {"start_lsn", to_string(start)},
        {"system_identifier", std::to_string(kSystem)},
        {"timeline", std::to_string(timeline)},
        {"wal_segment_bytes", std::to_string(kSegment)}};
    if (seconds) {
      const auto text = to_string(at(*seconds));
      facts.insert(
          facts.begin() + 1,
          {"end_time", text.substr(0, 10) + "T" + text.substr(11, 8) + "Z"});
    }
    auto options = testing_support::backup_options();
    options.series = kBases;
    options.now = to_timestamp(at(0));
    auto repository = site.open();
    run_backup(
        repository,
        testing_support::sources(TreeToBackUp{
            "postgres", repo::SourceKind::postgres_base,
            std::make_unique<BaseTree>(std::move(items), std::move(facts))}),
        options);
  }

  // What is there from `begin`, a segment's, to `end`.
  void store_wal(WalBytes& wal, Lsn begin, Lsn end,
                 std::uint32_t timeline = 1) {
    Bytes bytes(end.value - begin.value);
    ASSERT_EQ(wal.reader()(begin, bytes), bytes.size());
    auto run = spool.begin_run(timeline, begin);
    run->write(bytes);
    run->sync();
    auto repository = site.open();
    WalStore store({kSystem, kSegment, "15.18"},
                   {.series = std::string(kWal),
                    .host = "host",
                    .user = "user",
                    .program = "test",
                    .clock = [] {
                      return repo::Timestamp{1'800'000'000, 0};
                    }});
    ASSERT_TRUE(store.flush(repository, *run, histories, {}).has_value());
  }

  RecoveryPlan plan(const RecoveryTarget& target,
                    std::optional<std::uint32_t> timeline = std::nullopt) {
    opened.emplace(site.open());
    list = opened->snapshots({1'900'000'000, 0});
    clusters = find_clusters(list.snapshots,
                             repo::series_tag(opened->keyring(), kBases),
                             repo::series_tag(opened->keyring(), kWal));
    if (clusters.size() != 1) throw std::runtime_error("not one cluster");
    wal_reader.emplace(*opened, clusters.front());
    repo::Progress progress;
    return plan_recovery(*wal_reader, target, timeline, progress, {});
  }

  static RecoveryTarget to_time(double seconds) {
    RecoveryTarget target;
    target.kind = Kind::time;
    target.time = at(seconds);
    return target;
  }
  static RecoveryTarget to_lsn(Lsn lsn) {
    RecoveryTarget target;
    target.kind = Kind::lsn;
    target.lsn = lsn;
    return target;
  }

  std::string refusal(const RecoveryTarget& target,
                      std::optional<std::uint32_t> timeline = std::nullopt) {
    try {
      (void)plan(target, timeline);
    } catch (const repo::RefusedForSafety& e) {
      return e.what();
    }
    return "not refused";
  }

  BackupSite site{ChunkSizing::as_by_default};
  TempFolder folder;
  WalSpool spool{folder.path() / "spool", kSegment};
  std::map<std::uint32_t, std::string> histories;
  std::optional<repo::Repository> opened;
  repo::SnapshotList list;
  std::vector<RecoveryCluster> clusters;
  std::optional<RecoveryWal> wal_reader;
};

TEST_F(Recovery, TakesTheNewestBaseBeforeTheMoment) {
  WalBytes wal(kStart, kSegment);
  const auto first = wal.checkpoint(1'746'684'800);
  wal.commit(10, at(1));
  const auto first_end = wal.filler(100).next;
  wal.commit(11, at(20));
  wal.filler(700'000);
  const auto second = wal.checkpoint(1'746'684'830);
  const auto second_end = wal.filler(100).next;
  const auto kept = wal.commit(12, at(50));
  const auto between = wal.filler(900'000);
  const auto stop = wal.commit(13, at(60));
  wal.commit(14, at(70));
  store_base(wal, first.begin, first_end, 10);
  store_base(wal, second.begin, second_end, 40);
  store_wal(wal, kStart, wal.end());

  const auto late = plan(to_time(59.5));
  EXPECT_EQ(late.base->start, second.begin);
  EXPECT_EQ(late.stop, between.next);
  EXPECT_EQ(late.wal_end, stop.next);
  EXPECT_EQ(late.last_commit, at(50));
  EXPECT_TRUE(late.warnings.empty());
  EXPECT_EQ(plan(to_time(60)).stop, stop.next);  // that moment included
  const auto early = plan(to_time(39));
  EXPECT_EQ(early.base->start, first.begin);
  EXPECT_EQ(early.stop, second_end);
  EXPECT_EQ(early.last_commit, at(20));
  EXPECT_NE(refusal(to_time(9)).find("before the end of the oldest base"),
            std::string::npos);
  EXPECT_NE(refusal(to_time(71)).find("ends at " + to_string(wal.end())),
            std::string::npos);

  EXPECT_EQ(plan(to_lsn(kept.begin)).stop, kept.next);
  EXPECT_EQ(plan(to_lsn({kept.begin.value + 8})).stop, between.next);
  EXPECT_EQ(plan(to_lsn({second_end.value - 8})).base->start, first.begin);
}

TEST_F(Recovery, TheEndOfWalIsAMomentLikeAnother) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  wal.commit(10, at(20));
  const auto last = wal.filler(500);
  store_base(wal, base.begin, base_end, 10);
  store_wal(wal, kStart, wal.end());
  // No commit is later, for which a server would wait: the last record is told
  // it.
  for (const auto& target :
       {to_time(20), RecoveryTarget{}, to_lsn(wal.end())}) {
    const auto to_end = plan(target);
    EXPECT_EQ(to_end.target.kind, Kind::lsn);
    EXPECT_EQ(to_end.target.lsn, last.begin);
    EXPECT_EQ(to_end.stop, last.next);
  }
  EXPECT_EQ(plan(to_time(15)).stop, base_end);
  EXPECT_NE(refusal(to_time(20.5)), "not refused");
  EXPECT_NE(refusal(to_lsn({wal.end().value + 1})), "not refused");
}

TEST_F(Recovery, WithoutTheTimeOfItsEndABaseIsFoundToo) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  wal.commit(10, at(5));
  const auto base_end = wal.filler(100).next;
  wal.commit(11, at(20));
  store_base(wal, base.begin, base_end, std::nullopt);
  store_wal(wal, kStart, wal.end());
  EXPECT_EQ(plan(to_time(5)).stop, base_end);
  EXPECT_NE(refusal(to_time(4)), "not refused");
}

TEST_F(Recovery, ABaseAloneReachesItsOwnEnd) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  wal.switch_segment();
  store_base(wal, base.begin, base_end, 10);
  RecoveryTarget immediate;
  immediate.kind = Kind::immediate;
  EXPECT_EQ(plan(immediate).stop, base_end);
  EXPECT_EQ(plan(to_time(10)).target.kind, Kind::lsn);
  EXPECT_NE(refusal(to_time(11)).find("--immediate"), std::string::npos);
  // WAL that begins where the base switched to the next segment follows it.
  const auto next = wal.commit(11, at(30));
  wal.commit(12, at(40));
  store_wal(wal, {kStart.value + kSegment}, wal.end());
  EXPECT_EQ(plan(to_time(35)).stop, next.next);
}

TEST_F(Recovery, AGapIsNoWay) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  wal.commit(10, at(20));
  wal.filler(1'500'000);
  wal.commit(11, at(30));
  wal.filler(1'500'000);
  const auto second = wal.checkpoint(1'746'684'840);
  const auto second_end = wal.filler(100).next;
  wal.commit(12, at(50));
  wal.commit(13, at(60));
  store_base(wal, base.begin, base_end, 10);
  store_wal(wal, kStart, {kStart.value + kSegment});
  const Lsn after = segment_begin(second.begin, kSegment);
  store_wal(wal, after, wal.end());
  const auto why = refusal(to_time(35));
  EXPECT_NE(why.find("with the last commit at " + to_string(at(20))),
            std::string::npos);
  EXPECT_NE(refusal(to_time(55)), "not refused");
  EXPECT_NE(refusal({}).find("there is more"), std::string::npos);
  // Which a new base heals, from its end on.
  store_base(wal, second.begin, second_end, 45);
  EXPECT_NE(refusal(to_time(35)), "not refused");
  EXPECT_EQ(plan(to_time(55)).base->start, second.begin);
  const auto range = range_of(clusters.front(), path_to(1, ""));
  ASSERT_EQ(range.windows.size(), 2U);
  EXPECT_EQ(range.windows[0].end, (Lsn{kStart.value + kSegment}));
  EXPECT_EQ(range.windows[1].begin, second_end);
  EXPECT_EQ(range.windows[1].end, wal.end());
}

TEST_F(Recovery, TransactionsAndRestorePointsAreLookedFor) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  const auto old = wal.abort(10, at(20));
  const auto name = wal.restore_point("before", at(21));
  const auto second = wal.checkpoint(1'746'684'840);
  const auto second_end = wal.filler(100).next;
  const auto young = wal.commit(12, at(50));
  wal.filler(10);
  store_base(wal, base.begin, base_end, 10);
  store_base(wal, second.begin, second_end, 40);
  store_wal(wal, kStart, wal.end());
  RecoveryTarget target;
  target.kind = Kind::transaction;
  target.transaction = 10;
  EXPECT_EQ(plan(target).stop, old.next);
  EXPECT_EQ(plan(target).base->start, base.begin);
  target.transaction = 12;
  EXPECT_EQ(plan(target).stop, young.next);
  EXPECT_EQ(plan(target).base->start, second.begin);
  target.transaction = 13;
  EXPECT_NE(refusal(target), "not refused");
  target.kind = Kind::name;
  target.name = "before";
  EXPECT_EQ(plan(target).stop, name.next);
  target.name = "behind";
  EXPECT_NE(refusal(target), "not refused");
}

TEST_F(Recovery, OfAClockThatWasSetBackItTells) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  const auto good = wal.commit(10, at(100));
  wal.commit(11, at(7000));  // set forward
  const auto back = wal.commit(12, at(110));
  const auto wanted = wal.commit(13, at(120));
  wal.commit(14, at(200));
  store_base(wal, base.begin, base_end, 10);
  store_wal(wal, kStart, wal.end());
  // The server will end where the clock went wrong.
  const auto cut = plan(to_time(150));
  EXPECT_EQ(cut.stop, good.next);
  ASSERT_EQ(cut.warnings.size(), 1U);
  EXPECT_NE(cut.warnings[0].find("--target-lsn " + to_string(back.begin)),
            std::string::npos);
  // By its place it can be reached all the same, and that is told of too.
  const auto whole = plan(to_lsn(wanted.begin));
  EXPECT_EQ(whole.stop, wanted.next);
  ASSERT_EQ(whole.warnings.size(), 1U);
  EXPECT_NE(whole.warnings[0].find("was set back"), std::string::npos);
  EXPECT_TRUE(plan(to_time(50)).warnings.empty());
}

TEST_F(Recovery, ABaseDuringWhichTheClockWasAheadIsPassedOver) {
  WalBytes wal(kStart, kSegment);
  const auto first = wal.checkpoint(1'746'684'800);
  const auto first_end = wal.filler(100).next;
  wal.commit(10, at(20));
  const auto second = wal.checkpoint(1'746'684'830);
  wal.commit(11, at(9000));
  const auto second_end = wal.filler(100).next;
  wal.commit(12, at(60));
  wal.commit(13, at(70));
  store_base(wal, first.begin, first_end, 10);
  store_base(wal, second.begin, second_end, 40);
  store_wal(wal, kStart, wal.end());
  EXPECT_EQ(plan(to_time(65)).base->start, first.begin);
}

TEST_F(Recovery, TimelinesAreFollowedAndChosen) {
  WalBytes old(kStart, kSegment);
  const auto base = old.checkpoint(1'746'684'800);
  const auto base_end = old.filler(100).next;
  old.commit(10, at(20));
  old.filler(kSegment);
  const auto branch = old.commit(11, at(30)).next;
  WalBytes young = old;
  const auto lost = old.commit(12, at(40));
  old.commit(13, at(50));
  young.go_to(2);
  const auto kept = young.commit(14, at(45));
  young.filler(kSegment);
  young.commit(15, at(60));

  store_base(old, base.begin, base_end, 10);
  store_wal(old, kStart, old.end());
  histories[2] = "1\t" + to_string(branch) + "\tno recovery target\n";
  store_wal(young, segment_begin(branch, kSegment), young.end(), 2);

  const auto newest = plan(to_time(47));
  EXPECT_EQ(newest.timeline, 2U);
  EXPECT_EQ(newest.base->timeline, 1U);
  EXPECT_GE(newest.stop, kept.next);
  EXPECT_EQ(newest.last_commit, at(45));
  EXPECT_EQ(plan(to_time(25)).last_commit, at(20));
  const auto first = plan(to_time(47), 1);
  EXPECT_EQ(first.timeline, 1U);
  EXPECT_EQ(first.stop, lost.next);
  EXPECT_NE(refusal(to_time(47), 3).find("timeline 3"), std::string::npos);
  EXPECT_NE(refusal(to_time(61)), "not refused");
}

TEST_F(Recovery, NoWayLeadsToATimelineWhoseHistoryIsLost) {
  WalBytes wal(kStart, kSegment, 2);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  wal.commit(10, at(20));
  wal.commit(11, at(30));
  store_base(wal, base.begin, base_end, 10, 2);
  store_wal(wal, kStart, wal.end(), 2);
  EXPECT_NE(refusal(to_time(25)).find("the history file of timeline 2"),
            std::string::npos);
}

TEST_F(Recovery, NewTablespacesAreTold) {
  WalBytes wal(kStart, kSegment);
  const auto base = wal.checkpoint(1'746'684'800);
  const auto base_end = wal.filler(100).next;
  wal.commit(10, at(20));
  wal.create_tablespace("/srv/fast");
  wal.create_tablespace("");  // in place
  wal.commit(11, at(30));
  store_base(wal, base.begin, base_end, 10);
  store_wal(wal, kStart, wal.end());
  EXPECT_TRUE(plan(to_time(15)).new_tablespaces.empty());
  EXPECT_EQ(plan(to_time(25)).new_tablespaces,
            std::vector<std::string>{"/srv/fast"});
}

}  // namespace
}  // namespace cairn::ingest
