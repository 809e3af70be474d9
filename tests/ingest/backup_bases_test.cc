// What new chunks are written as differences to.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "ingest/backup.h"
#include "repo/base_chain.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/pack_format.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

constexpr const char* kName = "dump.sql";

// Rows of text, as a dump has them.
class Table {
 public:
  explicit Table(std::uint64_t seed, std::size_t rows = 20'000)
      : random_(seed) {
    for (std::size_t i = 0; i < rows; ++i) rows_.push_back(new_row());
  }

  // A row in a hundred becomes another, some go, some come.
  void pass_a_day() {
    for (auto& row : rows_) {
      if (random_() % 100 == 0) row = new_row();
    }
    rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(random_() % 5000));
    for (int i = 0; i < 20; ++i) rows_.push_back(new_row());
  }

  void shuffle() { std::ranges::shuffle(rows_, random_); }

  [[nodiscard]] Bytes dump() const {
    std::string text;
    for (const auto& row : rows_) text += row;
    return bytes_of(text);
  }

 private:
  std::string new_row() {
    return std::to_string(++last_) + "\tcustomer " +
           std::to_string(random_() % 100'000) + "\t" +
           std::to_string(random_()) + "\tdelivered\n";
  }

  std::mt19937_64 random_;
  std::uint64_t last_ = 0;
  std::vector<std::string> rows_;
};

BackupOptions options_of(std::string series) {
  auto options = backup_options();
  options.series = std::move(series);
  return options;
}

BackupReport back_up_to(BackupSite& site, std::string series, Bytes bytes) {
  auto repository = site.open();
  return run_backup(repository, sources(source_of(kName, std::move(bytes))),
                    options_of(std::move(series)));
}

std::set<repo::BlobId> chunks_of(BackupSite& site, std::string_view series) {
  std::set<repo::BlobId> chunks;
  auto repository = site.open();
  const auto tag = repo::series_tag(repository.keyring(), series);
  for (const auto& [snapshot, tree] : read_all_snapshots(site)) {
    if (snapshot.header.series_tag != tag) continue;
    for (const auto& [path, entry] : tree) {
      for (const auto& link : entry.chunks) chunks.insert(link.id);
    }
  }
  return chunks;
}

TEST(BackupBases, EachStateCostsLittleAndAllComeBack) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(1);
  std::vector<Bytes> states;
  std::uint64_t first_stored = 0;
  std::uint64_t later_stored = 0;
  std::uint64_t later_chunks = 0;
  std::uint64_t differences = 0;
  constexpr int kDays = 20;
  for (int day = 0; day < kDays; ++day) {
    states.push_back(table.dump());
    const auto report = back_up_to(site, "host/db", states.back());
    if (day == 0) {
      first_stored = report.bytes_stored;
    } else {
      later_stored += report.bytes_stored;
      later_chunks += report.chunks_new;
      differences += report.differences;
    }
    table.pass_a_day();
  }

  // Padding included, which weighs much for states as small as these.
  EXPECT_LT(later_stored / (kDays - 1), first_stored / 4);
  EXPECT_GT(differences * 10, later_chunks * 9);
  const auto snapshots = read_all_snapshots(site);
  ASSERT_EQ(snapshots.size(), states.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    EXPECT_EQ(snapshots[i].tree.at(kName).content, states[i]) << "day " << i;
  }
  EXPECT_TRUE(damage_in(site).empty());
}

TEST(BackupBases, ChainsStayShortAndSmall) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(2, 8'000);
  for (int day = 0; day < 70; ++day) {
    (void)back_up_to(site, "host/db", table.dump());
    table.pass_a_day();
  }

  auto repository = site.open();
  std::size_t deepest = 0;
  for (const auto& id : chunks_of(site, "host/db")) {
    const auto chain =
        repo::chain_of(repository.index(), repo::BlobKind::content, id);
    ASSERT_FALSE(chain.empty());
    std::uint64_t differences = 0;
    for (const auto& copy : chain) {
      if (copy.row.base) differences += copy.row.stored_size;
    }
    EXPECT_LE(differences, chain.front().row.plain_size / 2);
    deepest = std::max(deepest, chain.size() - 1);
  }
  EXPECT_GE(deepest, 3U);  // or this test proves nothing
  EXPECT_LE(deepest, 12U);
}

// Prose that no earlier state had. Its words are few, so that it compresses
// well by itself, and a little better behind more of it.
TEST(BackupBases, WhatResemblesNothingLeansOnWhatIsBeforeIt) {
  BackupSite site(ChunkSizing::as_by_default);
  std::mt19937_64 random(7);
  std::vector<std::string> words;
  for (int i = 0; i < 2'000; ++i) {
    words.push_back(std::to_string(random() % 100'000'000) + "-" +
                    std::to_string(random() % 100'000) + " ");
  }
  const auto prose = [&] {
    std::string text;
    while (text.size() < 2'000'000) text += words[random() % words.size()];
    return text;
  };
  const auto first = back_up_to(site, "host/db", bytes_of(prose()));
  EXPECT_EQ(first.differences, 0U);
  std::string text = prose();

  const auto report = back_up_to(site, "host/db", bytes_of(text));

  // Three in four, less where a batch begins.
  EXPECT_GE(report.differences * 2, report.chunks_new);
  EXPECT_LE(report.differences * 4, report.chunks_new * 3);
  EXPECT_LT(report.bytes_stored, first.bytes_stored);
  auto repository = site.open();
  for (const auto& id : chunks_of(site, "host/db")) {
    EXPECT_LE(
        repo::chain_of(repository.index(), repo::BlobKind::content, id).size(),
        2U);
  }
  EXPECT_EQ(read_all_snapshots(site).back().tree.at(kName).content,
            bytes_of(text));
  EXPECT_TRUE(damage_in(site).empty());

  // From then on it is like any other state.
  for (std::size_t at = 0; at < text.size(); at += 20'000) text[at] = '#';
  const auto later = back_up_to(site, "host/db", bytes_of(text));
  EXPECT_GT(later.differences * 10, later.chunks_new * 8);
  EXPECT_LT(later.bytes_stored, report.bytes_stored / 3);
  EXPECT_EQ(read_all_snapshots(site).back().tree.at(kName).content,
            bytes_of(text));
  EXPECT_TRUE(damage_in(site).empty());
}

// The key is random, and with it where the cuts are. Where a changed row moves
// one, a difference holds what its base does not: a twentieth of the whole each
// time, and of a few hundred runs one with more than a third in all.
void expect_mostly_differences(const BackupReport& report,
                               const BackupReport& whole) {
  EXPECT_GT(report.differences * 2, report.chunks_new);
  EXPECT_LT(report.bytes_stored, whole.bytes_stored / 2);
}

TEST(BackupBases, RowsInAnotherOrderStillFindTheirBases) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(3);
  const auto whole = back_up_to(site, "host/db", table.dump());
  // Two halves change places: nothing lies where it lay.
  Bytes bytes = table.dump();
  table.pass_a_day();
  Bytes turned = table.dump();
  std::ranges::rotate(turned, turned.begin() + 700'001);

  const auto report = back_up_to(site, "host/db", turned);

  expect_mostly_differences(report, whole);
  EXPECT_EQ(read_newest(site).at(kName).content, turned);
}

TEST(BackupBases, AreOfTheSameSeries) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(4);
  // Theirs gets a history, mine begins with a state of it and goes on from
  // there: what both have is stored once, as a difference among theirs.
  for (int day = 0; day < 6; ++day) {
    (void)back_up_to(site, "host/theirs", table.dump());
    table.pass_a_day();
  }
  (void)back_up_to(site, "host/theirs", table.dump());
  (void)back_up_to(site, "host/mine", table.dump());
  const auto theirs = chunks_of(site, "host/theirs");
  for (int day = 0; day < 6; ++day) {
    table.pass_a_day();
    (void)back_up_to(site, "host/mine", table.dump());
  }

  const auto mine = chunks_of(site, "host/mine");
  auto repository = site.open();
  std::size_t differences = 0;
  for (const auto& id : mine) {
    if (theirs.contains(id)) continue;
    for (const auto& copy : repository.index().find(id)) {
      if (!copy.row.base) continue;
      ++differences;
      EXPECT_TRUE(mine.contains(*copy.row.base));
    }
  }
  EXPECT_GT(differences, 10U);
}

TEST(BackupBases, AreLearnedAnewWhereTheCacheWasLost) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(5);
  const auto whole = back_up_to(site, "host/db", table.dump());
  table.pass_a_day();
  (void)back_up_to(site, "host/db", table.dump());
  site.lose_cache();
  table.pass_a_day();

  const auto report = back_up_to(site, "host/db", table.dump());

  expect_mostly_differences(report, whole);
  EXPECT_EQ(read_newest(site).at(kName).content, table.dump());
}

// However a base went, its difference is of no use: not when the index is made
// anew from the packs that are left, either.
TEST(BackupBases, ADifferenceIsNotUsedAgainOnceItsBaseIsGone) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(7);
  (void)back_up_to(site, "host/db", table.dump());
  const auto bases = packs_in(site.disk());
  table.pass_a_day();
  ASSERT_GT(back_up_to(site, "host/db", table.dump()).differences, 0U);
  for (const auto& pack : bases) site.disk().remove(repo::pack_name(pack));
  {
    auto repository = site.open();
    (void)repo::repair_index(repository, {}, nullptr);
  }

  const auto report = back_up_to(site, "host/db", table.dump());

  EXPECT_GT(report.chunks_new, 0U);
  auto repository = site.open_elsewhere();
  EXPECT_EQ(read_tree(repository, root_of(site, report)).at(kName).content,
            table.dump());
}

// A stream that ends in an interrupt.
class Interrupted : public ByteStream {
 public:
  Interrupted(Bytes bytes, std::stop_source& stop)
      : bytes_(std::move(bytes)), stop_(stop) {}

  std::size_t read(std::span<std::byte> out, std::stop_token) override {
    const auto rest = std::span(bytes_).subspan(at_);
    const std::size_t size = std::min(out.size(), rest.size());
    std::ranges::copy(rest.first(size), out.begin());
    at_ += size;
    return size;
  }
  void finish(std::stop_token) override {
    stop_.request_stop();
    throw repo::Cancelled("interrupted");
  }

 private:
  Bytes bytes_;
  std::size_t at_ = 0;
  std::stop_source& stop_;
};

// The table of features knows more than there is.
TEST(BackupBases, AreTheStatesBeforeOneThatWasInterrupted) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(8);
  const auto whole = back_up_to(site, "host/db", table.dump());
  table.pass_a_day();
  (void)back_up_to(site, "host/db", table.dump());
  table.pass_a_day();
  {
    auto repository = site.open();
    std::stop_source stop;
    repo::Progress progress;
    EXPECT_THROW(
        (void)back_up(repository,
                      sources(source_of(kName, std::make_unique<Interrupted>(
                                                   table.dump(), stop))),
                      options_of("host/db"), progress, stop.get_token()),
        repo::Cancelled);
  }
  table.pass_a_day();

  const auto report = back_up_to(site, "host/db", table.dump());

  expect_mostly_differences(report, whole);
  EXPECT_EQ(read_newest(site).at(kName).content, table.dump());
}

TEST(BackupBases, AreTheStatesBeforeOneThatIsForgottenAndPruned) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(9);
  const auto whole = back_up_to(site, "host/db", table.dump());
  for (int day = 0; day < 2; ++day) {
    table.pass_a_day();
    (void)back_up_to(site, "host/db", table.dump());
  }
  {
    auto repository = site.open();
    const auto list = repository.snapshots(backup_options().now).snapshots;
    (void)repo::forget_snapshot(repository, list.back(), "test",
                                backup_options().now);
    repo::PruneOptions all;
    all.max_unused = 0;
    (void)repo::prune(repository, all, backup_options().now, {}, {}, nullptr);
  }
  table.pass_a_day();

  const auto report = back_up_to(site, "host/db", table.dump());

  expect_mostly_differences(report, whole);
  EXPECT_EQ(read_newest(site).at(kName).content, table.dump());
}

TEST(BackupBases, AWriteKeyStoresChunksWholeSinceItCannotReadBases) {
  BackupSite site(ChunkSizing::as_by_default);
  Table table(6);
  (void)back_up_to(site, "host/db", table.dump());
  table.pass_a_day();

  auto repository = site.open_as(repo::Role::write);
  const auto report =
      run_backup(repository, sources(source_of(kName, table.dump())),
                 options_of("host/db"));

  EXPECT_EQ(report.differences, 0U);
  EXPECT_GT(report.chunks_new, 0U);
}

}  // namespace
}  // namespace cairn::ingest
