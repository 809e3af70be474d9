// Files that change, fail or vanish while they are read: what becomes of them
// is true to itself and reported, and the rest is saved.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/support/backup_site.h"
#include "tests/support/watched_reads.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

constexpr std::uint64_t kBlock = 4096;  // holes are made of these
constexpr std::uint64_t kMiB = 1U << 20;

// Two files, of which the first is watched.
class BackupOfChangingFiles : public ::testing::Test {
 protected:
  BackupOfChangingFiles() {
    std::mt19937_64 random(1);
    content_ = text_of(random_bytes(random, 3 * kMiB));
    testing_support::write_file(file(), content_);
    testing_support::write_file(folder_ / "other", "other");
  }

  [[nodiscard]] fs::path file() const { return folder_ / "file"; }

  // Backs up and expects that it told of one problem, with that path, and saved
  // the other file.
  void back_up_with_problem(const fs::path& path) {
    const auto report = run_backup(site_, source_of(folder_.path()));

    EXPECT_TRUE(report.snapshot.has_value());
    EXPECT_FALSE(report.is_complete);
    EXPECT_EQ(report.sources.at(0).status, repo::SourceStatus::partial);
    ASSERT_EQ(report.problem_count, 1u);
    EXPECT_EQ(report.problems.at(0).path, path);
    problem_ = report.problems.at(0).why;
    const auto snapshots = read_all_snapshots(site_);
    EXPECT_FALSE(snapshots.back().snapshot.header.is_complete);
    EXPECT_EQ(snapshots.back().snapshot.header.logical_bytes,
              report.bytes_read);
    tree_ = snapshots.back().tree;
    EXPECT_TRUE(tree_.contains(key("other")) || path.filename() == "other");
  }

  [[nodiscard]] std::string key(const std::string& name) const {
    return (folder_ / name).string().substr(1);
  }
  [[nodiscard]] std::string stored() const {
    return text_of(tree_.at(key("file")).content);
  }

  TempFolder folder_;
  BackupSite site_;
  std::string content_;
  StoredTree tree_;
  std::string problem_;
};

// Calls `change` when the file is read at or behind `offset`, once.
auto once_at(std::uint64_t offset, std::function<void()> change) {
  return [=, done = false](std::uint64_t at) mutable {
    if (!done && at >= offset) {
      done = true;
      change();
    }
    return 0;
  };
}

TEST_F(BackupOfChangingFiles, KeepsWhatAGrowingFileHadAtFirst) {
  Watch watch(file());
  watch->on_read = once_at(kMiB, [&] {
    std::ofstream(file(), std::ios::app) << std::string(kMiB, 'x');
  });

  back_up_with_problem(file());

  EXPECT_TRUE(stored() == content_);
}

TEST_F(BackupOfChangingFiles, TellsOfNoProblemWhereChangesAreExpected) {
  testing_support::write_file(folder_ / "then", "gone");
  Watch watch(file());
  watch->on_read = once_at(kMiB, [&] {
    std::ofstream(file(), std::ios::app) << "more";
    fs::remove(folder_ / "then");
  });
  auto source = source_of(folder_.path());
  std::get<FilesToBackUp>(source).changes = Changes::are_expected;

  const auto report = run_backup(site_, std::move(source));

  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.problem_count, 0u);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("1 file changed and 1 entry vanished"),
            std::string::npos)
      << report.notes[0];
  tree_ = read_all_snapshots(site_).back().tree;
  EXPECT_TRUE(stored() == content_);
  EXPECT_FALSE(tree_.contains(key("then")));
}

TEST_F(BackupOfChangingFiles, KeepsWhatIsLeftOfAShrinkingFile) {
  Watch watch(file());
  watch->on_read = once_at(kMiB, [&] { fs::resize_file(file(), kMiB + 7); });

  back_up_with_problem(file());

  EXPECT_LT(stored().size(), content_.size());
  EXPECT_TRUE(content_.starts_with(stored()));
}

TEST_F(BackupOfChangingFiles, KeepsAFileThatIsEmptiedBeforeItIsRead) {
  Watch watch(file());
  watch->on_read = once_at(0, [&] { fs::resize_file(file(), 0); });

  back_up_with_problem(file());

  EXPECT_EQ(stored(), "");
}

TEST_F(BackupOfChangingFiles, TellsOfAFileRewrittenBehindTheReader) {
  Watch watch(file());
  watch->on_read = once_at(2 * kMiB, [&] {
    std::fstream out(file(), std::ios::in | std::ios::out);
    out << "changed";
  });

  back_up_with_problem(file());

  EXPECT_TRUE(stored() == content_);
}

TEST_F(BackupOfChangingFiles, KeepsAFileThatIsRemovedWhileItIsRead) {
  Watch watch(file());
  watch->on_read = once_at(kMiB, [&] { fs::remove(file()); });

  back_up_with_problem(file());

  EXPECT_TRUE(stored() == content_);
}

TEST_F(BackupOfChangingFiles, LeavesOutAFileThatVanishesBeforeItIsOpened) {
  Watch watch(file());
  watch->on_open = [&] { fs::remove(file()); };

  back_up_with_problem(file());

  EXPECT_FALSE(tree_.contains(key("file")));
}

TEST_F(BackupOfChangingFiles, LeavesOutAFileThatVanishesBeforeItIsLookedAt) {
  Watch watch(file());
  watch->on_read = once_at(0, [&] { fs::remove(folder_ / "other"); });

  back_up_with_problem(folder_ / "other");

  EXPECT_TRUE(stored() == content_);
  EXPECT_FALSE(tree_.contains(key("other")));
}

TEST_F(BackupOfChangingFiles, LeavesOutAFileThatFailsInTheMiddle) {
  Watch watch(file());
  watch->on_read = [](std::uint64_t at) { return at >= kMiB ? EIO : 0; };

  back_up_with_problem(file());

  EXPECT_FALSE(tree_.contains(key("file")));
}

TEST_F(BackupOfChangingFiles, LeavesOutAFileThatFailsAtOnce) {
  Watch watch(file());
  watch->on_read = [](std::uint64_t) { return EIO; };

  back_up_with_problem(file());

  EXPECT_FALSE(tree_.contains(key("file")));
}

TEST_F(BackupOfChangingFiles, LeavesOutAFileWhoseStateIsLostInTheEnd) {
  Watch watch(file());
  bool was_read = false;
  watch->on_read = once_at(kMiB, [&] { was_read = true; });
  watch->on_stat = [&] { return was_read ? ESTALE : 0; };

  back_up_with_problem(file());

  EXPECT_FALSE(tree_.contains(key("file")));
}

TEST_F(BackupOfChangingFiles, ReadsAgainWhatHadChanged) {
  let_settle(folder_.path());  // or the other file counts as changed, too
  {
    Watch watch(file());
    watch->on_read =
        once_at(kMiB, [&] { std::ofstream(file(), std::ios::app) << "more"; });
    back_up_with_problem(file());
  }
  let_settle(folder_.path());

  const auto report = run_backup(site_, source_of(folder_.path()));

  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.files_changed, 1u);
  EXPECT_TRUE(text_of(read_newest(site_).at(key("file")).content) ==
              content_ + "more");
}

// Data of a block at each offset, holes between them.
void make_sparse(const fs::path& path, std::uint64_t size,
                 const std::vector<std::uint64_t>& data_at) {
  testing_support::write_file(path, "");
  fs::resize_file(path, size);
  std::fstream out(path, std::ios::in | std::ios::out);
  for (const auto offset : data_at) {
    out.seekp(static_cast<std::streamoff>(offset));
    out << std::string(kBlock, 'd');
  }
}

TEST_F(BackupOfChangingFiles, KeepsASparseFileTrueToItselfWhenItShrinks) {
  // Wherever the end comes to lie: in data, in a hole, between them, at 0.
  const std::vector<std::uint64_t> data = {0, 10 * kBlock, 11 * kBlock,
                                           30 * kBlock};
  for (const std::uint64_t size :
       {0UL, 1UL, 1 * kBlock, 5 * kBlock, 10 * kBlock, 11 * kBlock + 9,
        20 * kBlock, 30 * kBlock + 1, 39 * kBlock}) {
    SCOPED_TRACE(size);
    make_sparse(file(), 40 * kBlock, data);
    Watch watch(file());
    watch->on_read = once_at(0, [&] { fs::resize_file(file(), size); });

    back_up_with_problem(file());

    const auto& entry = tree_.at(key("file")).entry;
    EXPECT_LE(entry.size, 40 * kBlock);
    EXPECT_GE(entry.size, std::min(size, 30 * kBlock));
  }
}

// The walk saw a file of one size, the reader another with holes and of that
// the beginning: by accident the sum was right and the hole was outside.
TEST_F(BackupOfChangingFiles, KeepsNoHoleBehindTheEnd) {
  testing_support::write_file(file(), std::string(15 * kBlock, 'x'));
  Watch watch(file());
  watch->on_open = [&] {
    fs::resize_file(file(), 0);
    fs::resize_file(file(), 30 * kBlock);
    std::fstream out(file(), std::ios::in | std::ios::out);
    out << std::string(10 * kBlock, 'd');
    out.seekp(20 * kBlock);
    out << std::string(10 * kBlock, 'd');
  };
  watch->on_read = once_at(0, [&] { fs::resize_file(file(), 5 * kBlock); });

  back_up_with_problem(file());

  EXPECT_EQ(stored(), std::string(5 * kBlock, 'd'));
}

TEST_F(BackupOfChangingFiles, GoesOnWithTheNextSourceWhenOnePathIsGone) {
  auto repository = site_.open();

  const auto report = run_backup(
      repository,
      sources(source_of(folder_ / "never"), source_of(folder_.path())));

  ASSERT_EQ(report.sources.size(), 2u);
  EXPECT_EQ(report.sources[0].status, repo::SourceStatus::failed);
  EXPECT_EQ(report.sources[1].status, repo::SourceStatus::complete);
  EXPECT_FALSE(report.is_complete);
  EXPECT_TRUE(read_newest(site_).contains(key("other")));
}

}  // namespace
}  // namespace cairn::ingest
