// Trees that come in an order of their own.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "ingest/backup.h"
#include "ingest/tree_stream.h"
#include "repo/error.h"
#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

using testing_support::BackupSite;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::read_all_snapshots;
using testing_support::run_backup;
using testing_support::sources;
using testing_support::text_of;

struct Item {
  std::string path;
  std::optional<Bytes> content;  // nothing: a folder
};

// Members from memory, as they are listed.
class ListedTree : public TreeStream {
 public:
  explicit ListedTree(std::vector<Item> items) : items_(std::move(items)) {}

  Outcome outcome;
  std::optional<std::string> failure;  // of finish()

  std::optional<Member> next(const std::stop_token&) override {
    if (next_ == items_.size()) return std::nullopt;
    const auto& item = items_[next_++];
    read_ = 0;
    Member member{item.path, {}};
    member.entry.name = item.path.substr(item.path.rfind('/') + 1);
    member.entry.mode = 0640;
    member.entry.uid = 7;
    member.entry.type =
        item.content ? repo::EntryType::file : repo::EntryType::folder;
    if (item.content) member.entry.size = item.content->size();
    return member;
  }

  std::size_t read(std::span<std::byte> out, const std::stop_token&) override {
    const auto& content = *items_[next_ - 1].content;
    constexpr std::size_t kPiece = 5000;
    const auto size = std::min({out.size(), content.size() - read_, kPiece});
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(read_), size,
                out.begin());
    read_ += size;
    return size;
  }

  std::uint64_t expected_bytes() const override { return 0; }

  Outcome finish(const std::stop_token&) override {
    if (failure) throw ProducerFailed(*failure);
    return std::move(outcome);
  }

 private:
  std::vector<Item> items_;
  std::size_t next_ = 0;
  std::size_t read_ = 0;
};

Source source_of(std::unique_ptr<ListedTree> tree) {
  return TreeToBackUp{"cluster", repo::SourceKind::postgres_base,
                      std::move(tree)};
}

Source source_of(std::vector<Item> items) {
  return source_of(std::make_unique<ListedTree>(std::move(items)));
}

// PostgreSQL pages of random rows.
Bytes pages(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(count * 8192);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] = static_cast<std::byte>(random());
    if (at % 8192 < 24) bytes[at] = std::byte{0};
  }
  for (std::size_t page = 0; page < count; ++page) {
    const auto at = page * 8192;
    bytes[at + 12] = std::byte{24};    // pd_lower
    bytes[at + 14] = std::byte{24};    // pd_upper
    bytes[at + 17] = std::byte{0x20};  // pd_special 8192
    bytes[at + 18] = std::byte{4};     // version
    bytes[at + 19] = std::byte{0x20};  // size 8192
  }
  return bytes;
}

TEST(BackupOfATree, PutsMembersInOrderAndFoldersAroundThem) {
  BackupSite site;
  auto repository = site.open();

  const auto report = run_backup(
      repository,
      sources(source_of({{"z", bytes_of("last")},
                         {"pg_tblspc/16384/PG_15/1/2", bytes_of("far")},
                         {"base-b", bytes_of("beside")},
                         {"base/5/1", bytes_of("one")},
                         {"base", std::nullopt},
                         {"base/empty", std::nullopt},
                         {"base/5", std::nullopt},
                         {"base/10", bytes_of("ten")},
                         {"a", Bytes()}})));

  EXPECT_TRUE(report.is_complete);
  const auto all = read_all_snapshots(site);
  ASSERT_EQ(all.size(), 1U);
  const auto& tree = all[0].tree;
  EXPECT_EQ(text_of(tree.at("z").content), "last");
  EXPECT_EQ(text_of(tree.at("base/5/1").content), "one");
  EXPECT_EQ(text_of(tree.at("base/10").content), "ten");
  EXPECT_EQ(text_of(tree.at("base-b").content), "beside");
  EXPECT_EQ(tree.at("base/empty").entry.type, repo::EntryType::folder);
  EXPECT_EQ(tree.at("base").entry.mode, 0640U);
  EXPECT_EQ(tree.at("a").content.size(), 0U);
  // Folders that did not come are private ones.
  EXPECT_EQ(tree.at("pg_tblspc/16384").entry.mode, 0700U);
  EXPECT_EQ(tree.at("pg_tblspc/16384").entry.uid, 7U);
  EXPECT_EQ(all[0].snapshot.header.entries, tree.size());
  EXPECT_TRUE(testing_support::damage_in(site).empty());
}

TEST(BackupOfATree, PutsHeapFilesOnThePageGridAndFindsThemAgain) {
  BackupSite site;
  auto repository = site.open();
  auto heap = pages(64, 1);
  (void)run_backup(repository, sources(source_of({{"base/1", heap}})));
  heap[20 * 8192 + 5000] ^= std::byte{1};

  const auto second =
      run_backup(repository, sources(source_of({{"base/1", heap}})));

  const auto all = read_all_snapshots(site);
  EXPECT_EQ(all.back().tree.at("base/1").entry.profile, repo::Profile::page);
  EXPECT_EQ(all.back().tree.at("base/1").content, heap);
  EXPECT_EQ(second.chunks_new, 1U);
}

TEST(BackupOfATree, KeepsFactsNotesAndProblems) {
  BackupSite site;
  auto repository = site.open();
  auto tree =
      std::make_unique<ListedTree>(std::vector<Item>{{"file", bytes_of("x")}});
  tree->outcome = {.facts = {{"timeline", "1"}},
                   .notes = {"a note"},
                   .problems = {"damaged pages"}};

  const auto report =
      run_backup(repository, sources(source_of(std::move(tree))));

  EXPECT_FALSE(report.is_complete);
  EXPECT_EQ(report.notes, std::vector<std::string>{"a note"});
  const auto all = read_all_snapshots(site);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_FALSE(all[0].snapshot.header.is_complete);
  const auto& source = all[0].snapshot.record->sources.at(0);
  EXPECT_EQ(source.status, repo::SourceStatus::partial);
  EXPECT_EQ(source.message, "damaged pages");
  EXPECT_EQ(source.fact("timeline"), "1");
  EXPECT_EQ(text_of(all[0].tree.at("file").content), "x");
}

TEST(BackupOfATree, ThatFailsAtItsEndLeavesNothing) {
  BackupSite site;
  auto repository = site.open();
  auto tree =
      std::make_unique<ListedTree>(std::vector<Item>{{"file", bytes_of("x")}});
  tree->failure = "not what was sent";

  const auto report =
      run_backup(repository, sources(source_of(std::move(tree))));

  EXPECT_FALSE(report.snapshot);
  EXPECT_EQ(report.sources.at(0).message, "not what was sent");
  EXPECT_TRUE(read_all_snapshots(site).empty());
}

TEST(BackupOfATree, ThatContradictsItselfIsRefused) {
  const std::vector<std::vector<Item>> trees{
      {{"a", bytes_of("x")}, {"a", bytes_of("y")}},
      {{"a", bytes_of("x")}, {"a", std::nullopt}},
      {{"a/b", bytes_of("x")}, {"a", bytes_of("y")}}};
  for (const auto& items : trees) {
    BackupSite site;
    auto repository = site.open();
    EXPECT_THROW((void)run_backup(repository, sources(source_of(items))),
                 repo::Error);
    EXPECT_TRUE(read_all_snapshots(site).empty());
  }
}

TEST(BackupOfATree, SharesTheRootWithNobody) {
  BackupSite site;
  auto repository = site.open();
  EXPECT_THROW(
      (void)run_backup(repository,
                       sources(source_of({{"a", bytes_of("x")}}),
                               testing_support::source_of("s", bytes_of("y")))),
      std::invalid_argument);
}

}  // namespace
}  // namespace cairn::ingest
