// Files that did not change are passed by, those that did are not, and what is
// used again is there.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>
#include <utility>
#include <variant>

#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/mark.h"
#include "repo/pack_format.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "tests/support/backup_site.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/watched_reads.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

// A small file, and a big one whose rows are a list.
class BackupOfUnchangedFiles : public ::testing::Test {
 protected:
  BackupOfUnchangedFiles() : random_(1) {
    write_file(small(), "small");
    write_file(big(), text_of(random_bytes(random_, 500'000)));
  }

  [[nodiscard]] fs::path small() const { return folder_ / "small"; }
  [[nodiscard]] fs::path big() const { return folder_ / "big"; }

  BackupReport back_up() {
    auto repository = site_.open();
    return run_backup(repository, sources(source_of(folder_.path())));
  }
  BackupReport back_up_settled() {
    let_settle(folder_.path());
    return back_up();
  }

  void forget(const BackupReport& report) {
    auto repository = site_.open();
    (void)repo::publish_mark(
        repository.storage(), repository.keyring(), repository.signer(),
        {repo::MarkAction::forget, *report.snapshot, file_clock_now(), "", {}});
  }

  // In many of its chunks, since the smallest ones have no base.
  void change_big() const {
    std::fstream file(big(), std::ios::in | std::ios::out);
    for (int place = 0; place < 500'000; place += 50'000) {
      file.seekp(place) << "changed";
    }
  }

  void expect_stored_as_it_is(const StoredTree& tree) const {
    for (const auto& path : {small(), big()}) {
      EXPECT_TRUE(text_of(tree.at(path.string().substr(1)).content) ==
                  read_file(path));
    }
  }

  std::mt19937_64 random_;
  TempFolder folder_;
  BackupSite site_;
};

TEST_F(BackupOfUnchangedFiles, DoesNotReadThem) {
  (void)back_up_settled();
  int reads = 0;
  Watch watch(big());
  watch->on_read = [&](std::uint64_t) { return ++reads, 0; };

  const auto again = back_up();

  EXPECT_EQ(reads, 0);
  EXPECT_EQ(again.files_unmodified, 2u);
  EXPECT_EQ(again.files_read_again, 0u);
  EXPECT_EQ(again.files_new + again.files_changed, 0u);
  EXPECT_EQ(again.chunks, 0u);
  EXPECT_EQ(again.bytes_read, 500'005u);
  EXPECT_TRUE(again.is_complete);
  const auto snapshots = read_all_snapshots(site_);
  ASSERT_EQ(snapshots.size(), 2u);
  expect_stored_as_it_is(snapshots[1].tree);
}

TEST_F(BackupOfUnchangedFiles, ReadsTheOneThatChanged) {
  (void)back_up_settled();
  std::ofstream(big(), std::ios::app) << "more";

  const auto again = back_up();

  EXPECT_EQ(again.files_unmodified, 1u);
  EXPECT_EQ(again.files_changed, 1u);
  expect_stored_as_it_is(read_newest(site_));
}

TEST_F(BackupOfUnchangedFiles, ReadsOneWhoseSizeAndModificationTimeStayed) {
  (void)back_up_settled();
  struct stat before;
  ASSERT_EQ(::stat(big().c_str(), &before), 0);
  write_file(big(), text_of(random_bytes(random_, 500'000)));
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, big().c_str(), times, 0), 0);

  const auto again = back_up();

  EXPECT_EQ(again.files_changed, 1u);
  expect_stored_as_it_is(read_newest(site_));
}

TEST_F(BackupOfUnchangedFiles, ReadsOneThatAnotherTookThePlaceOf) {
  (void)back_up_settled();
  fs::copy_file(small(), folder_ / "copy");
  fs::rename(folder_ / "copy", small());

  EXPECT_EQ(back_up().files_changed, 1u);
}

TEST_F(BackupOfUnchangedFiles, RemembersNoneThatMayHaveChangedUnseen) {
  // One written, as far as a stamp can tell, while it is being read.
  let_settle(folder_.path());
  const timespec tomorrow{file_clock_now().seconds + 86'400, 1};
  const timespec times[] = {tomorrow, tomorrow};
  ASSERT_EQ(::utimensat(AT_FDCWD, big().c_str(), times, 0), 0);
  (void)back_up();

  const auto again = back_up();

  EXPECT_EQ(again.files_unmodified, 2u);
  EXPECT_EQ(again.files_read_again, 1u);
  EXPECT_EQ(again.files_changed, 0u);
  EXPECT_EQ(again.chunks_new, 0u);
}

// As below /sys and /proc, whose files have any length by their status. To go
// on from its rows would store an entry whose rows do not add up.
TEST_F(BackupOfUnchangedFiles, ReadsAgainWhatHasAnotherLengthThanItSays) {
  const fs::path strange = "/sys/devices/system/cpu/online";
  if (!fs::exists(strange)) GTEST_SKIP() << strange << ": none here";
  const std::string content = read_file(strange);
  ASSERT_NE(content.size(), fs::file_size(strange));
  const auto back_up_both = [&] {
    auto source = source_of(folder_.path());
    std::get<FilesToBackUp>(source).paths.push_back(strange.string());
    auto repository = site_.open();
    return run_backup(repository, sources(std::move(source)));
  };
  // Its stamp is that of the first look at it.
  const auto stamp = fs::last_write_time(strange);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (fs::last_write_time(strange) != stamp) GTEST_SKIP() << "no stamp stays";
  let_settle(folder_.path());
  (void)back_up_both();

  const auto again = back_up_both();

  EXPECT_EQ(again.files_unmodified, 3u);
  EXPECT_EQ(again.files_read_again, 1u);
  const auto tree = read_newest(site_);
  EXPECT_EQ(text_of(tree.at(strange.string().substr(1)).content), content);
  expect_stored_as_it_is(tree);
}

TEST_F(BackupOfUnchangedFiles, CountsAsChangedWhatIsNotAsItWas) {
  const auto back_up_young_files = [&] {
    auto source = source_of(folder_.path());
    std::get<FilesToBackUp>(source).options.settling = std::chrono::hours(1);
    auto repository = site_.open();
    return run_backup(repository, sources(std::move(source)));
  };
  write_file(folder_ / "content", "a");
  write_file(folder_ / "mode", "b");
  (void)back_up_young_files();
  EXPECT_EQ(back_up_young_files().files_read_again, 4u);
  let_settle(folder_.path());  // so that the stamps differ from the first ones
  write_file(folder_ / "content", "c");
  ASSERT_EQ(::chmod((folder_ / "mode").c_str(), 0600), 0);

  const auto again = back_up_young_files();

  EXPECT_EQ(again.files_new, 0u);
  EXPECT_EQ(again.files_changed, 2u);
  EXPECT_EQ(again.files_unmodified, 2u);
  EXPECT_EQ(again.files_read_again, 2u);
}

TEST_F(BackupOfUnchangedFiles, UsesNothingOfAForgottenSnapshot) {
  const auto first = back_up_settled();
  const auto old_packs = packs_in(site_.disk());
  forget(first);

  const auto again = back_up();

  EXPECT_EQ(again.files_read_again, 2u);
  EXPECT_EQ(again.chunks_new, 0u);  // no prune was here yet
  expect_stored_as_it_is(read_newest(site_));
  forget(again);
  // What a prune leaves.
  for (const auto& pack : old_packs) site_.disk().remove(repo::pack_name(pack));
  for (const auto& index : repo::list_indexes(site_.disk())) {
    site_.disk().remove(repo::index_name(index));
  }

  const auto anew = back_up();

  EXPECT_EQ(anew.files_read_again, 2u);
  expect_stored_as_it_is(read_all_snapshots(site_).at(0).tree);
}

TEST_F(BackupOfUnchangedFiles, KnowsThemByTheLatestSnapshotThatHasThem) {
  const auto first = back_up_settled();
  (void)back_up();
  forget(first);

  EXPECT_EQ(back_up().files_unmodified, 2u);
}

TEST_F(BackupOfUnchangedFiles, KnowsThemAfterARunThatFailed) {
  (void)back_up_settled();
  FaultyStorage storage(site_.disk());
  storage.add({.call = Call::create,
               .nth = 2,  // after the session: the index or the slot
               .error = std::make_exception_ptr(repo::OutOfSpace("disk full")),
               .lasts = Lasts::from_then_on});
  auto repository = site_.open_through(storage);
  EXPECT_THROW((void)run_backup(repository, sources(source_of(folder_.path()))),
               repo::OutOfSpace);

  EXPECT_EQ(back_up().files_unmodified, 2u);
}

TEST_F(BackupOfUnchangedFiles, DoesNotMixUpTwoSeries) {
  (void)back_up_settled();
  auto repository = site_.open();
  auto options = backup_options();
  options.series = "host/other";

  const auto other =
      run_backup(repository, sources(source_of(folder_.path())), options);

  EXPECT_EQ(other.files_unmodified, 0u);
  EXPECT_EQ(other.chunks_new, 0u);
  EXPECT_EQ(other.differences, 0u);
}

TEST_F(BackupOfUnchangedFiles, LosesNothingButTimeWithItsCache) {
  (void)back_up_settled();
  site_.lose_cache();

  const auto again = back_up();

  EXPECT_EQ(again.files_unmodified, 0u);
  EXPECT_EQ(again.chunks_new, 0u);
  EXPECT_EQ(back_up().files_unmodified, 2u);
  expect_stored_as_it_is(read_newest(site_));
}

TEST_F(BackupOfUnchangedFiles, FindsBasesWithoutItsCache) {
  (void)back_up_settled();
  change_big();
  site_.lose_cache();

  const auto again = back_up();

  EXPECT_LE(again.chunks_new, 20u);
  EXPECT_GT(again.differences, 0u);
}

// What a disk lost is not used again: the file is still there to read.
TEST_F(BackupOfUnchangedFiles, StoresAnewWhatLiesInPacksThatAreGone) {
  (void)back_up_settled();
  const auto all = packs_in(site_.disk());
  const MemoryStorage whole = site_.disk();
  for (const auto& lost : all) {
    site_.disk() = whole;
    site_.lose_cache();
    {
      // A cache that knows the packs, as if they were there.
      auto repository = site_.open();
      (void)repository.index();
      (void)run_backup(repository, sources(source_of(folder_.path())));
    }
    site_.disk().remove(repo::pack_name(lost));

    const auto again = back_up();

    EXPECT_TRUE(again.is_complete);
    auto repository = site_.open_elsewhere();
    expect_stored_as_it_is(read_tree(repository, root_of(site_, again)));
  }
}

// Nor when the index does not name them any more: another machine has made it
// anew from the packs that are left.
TEST_F(BackupOfUnchangedFiles, StoresAnewWhatAnIndexMadeAnewDoesNotName) {
  (void)back_up_settled();
  const auto all = packs_in(site_.disk());
  (void)back_up();
  site_.keep();
  for (const auto& lost : all) {
    site_.go_back();
    site_.disk().remove(repo::pack_name(lost));
    {
      auto elsewhere = site_.open_elsewhere();
      (void)repo::repair_index(elsewhere, {}, nullptr);
    }

    const auto again = back_up();

    EXPECT_TRUE(again.is_complete);
    auto repository = site_.open_elsewhere();
    expect_stored_as_it_is(read_tree(repository, root_of(site_, again)));
  }
}

TEST_F(BackupOfUnchangedFiles, LooksBelowItsListsOnceAfterAPackWent) {
  (void)back_up_settled();
  write_file(folder_ / "other", "other");
  const auto second = back_up_settled();
  site_.keep();
  fs::remove(folder_ / "other");
  (void)back_up();
  forget(second);
  {
    auto repository = site_.open();
    (void)repo::prune(repository, {.max_unused = 0, .budget = {}},
                      file_clock_now(), {}, {}, nullptr);
  }

  const auto reads_of_a_backup = [&] {
    ObservedStorage storage(site_.disk());
    std::size_t reads = 0;
    storage.before_read = [&](std::string_view name) {
      if (name.starts_with("packs/")) ++reads;
    };
    auto repository = site_.open_through(storage);
    const auto again =
        run_backup(repository, sources(source_of(folder_.path())));
    EXPECT_EQ(again.files_unmodified, 2U);
    return reads;
  };
  const auto first = reads_of_a_backup();
  const auto later = reads_of_a_backup();

  EXPECT_LT(later, first);
  EXPECT_EQ(reads_of_a_backup(), later);
}

TEST_F(BackupOfUnchangedFiles, StoresAnewADifferenceWhoseBaseIsGone) {
  (void)back_up_settled();
  const auto bases = packs_in(site_.disk());
  change_big();
  EXPECT_GT(back_up_settled().differences, 0u);
  for (const auto& pack : bases) site_.disk().remove(repo::pack_name(pack));

  const auto again = back_up();

  auto repository = site_.open_elsewhere();
  expect_stored_as_it_is(read_tree(repository, root_of(site_, again)));
}

}  // namespace
}  // namespace cairn::ingest
