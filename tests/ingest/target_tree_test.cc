#include "ingest/target_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "ingest/file_source.h"
#include "ingest/placement.h"
#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/deny_syscalls.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using repo::Entry;
using repo::EntryType;
using testing_support::bytes_of;
using testing_support::read_file;
using testing_support::TempFolder;
using testing_support::write_file;

constexpr repo::Timestamp kLongAgo{.seconds = 1'000'000'000,
                                   .nanoseconds = 123'456'789};

Entry entry_named(std::string name, EntryType type) {
  Entry entry;
  entry.name = std::move(name);
  entry.type = type;
  entry.mode = type == EntryType::folder ? 0750 : 0640;
  entry.uid = geteuid();
  entry.gid = getegid();
  entry.modified = kLongAgo;
  return entry;
}

Entry file_named(std::string name, std::uint64_t size) {
  Entry entry = entry_named(std::move(name), EntryType::file);
  entry.size = size;
  return entry;
}

Entry folder_named(std::string name) {
  return entry_named(std::move(name), EntryType::folder);
}

Entry symlink_named(std::string name, std::string target) {
  Entry entry = entry_named(std::move(name), EntryType::symlink);
  entry.mode = 0777;
  entry.symlink_target = std::move(target);
  return entry;
}

void put(TargetTree& tree, const Entry& entry, std::string_view content) {
  auto file = tree.create_file(entry);
  if (!file) return;
  if (!content.empty()) file->write(0, bytes_of(content));
  std::move(*file).finish();
}

void put(TargetTree& tree, const std::string& name, std::string_view content) {
  put(tree, file_named(name, content.size()), content);
}

std::string read_from(const TargetFile& file, std::uint64_t offset,
                      std::size_t size) {
  testing_support::Bytes bytes(size);
  bytes.resize(file.read(offset, bytes));
  return testing_support::text_of(bytes);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

struct stat status_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status;
}

using Names = std::vector<std::string>;

TEST(TargetTree, MakesFilesFoldersAndLinksWithTheirMetadata) {
  TempFolder folder;
  Entry file = file_named("file", 7);
  file.mode = 0604;
  Entry old = file_named("old", 0);
  old.modified = {.seconds = -3, .nanoseconds = 999'999'999};
  const Entry link = symlink_named("link", "nowhere");
  Entry fifo = entry_named("fifo", EntryType::fifo);
  fifo.mode = 0622;
  Entry closed = folder_named("closed");
  closed.mode = 0500;

  TargetTree tree(folder / "new/target", Overwrite::refuse);
  tree.enter(closed);
  put(tree, file, "content");
  tree.create_other(link);
  tree.create_other(fifo);
  tree.leave();
  put(tree, old, "");
  tree.finish();

  const fs::path target = folder / "new/target";
  EXPECT_EQ(read_file(target / "closed/file"), "content");
  const auto expected = [](Entry entry) {
    entry.user.clear();
    entry.group.clear();
    return entry;
  };
  const auto actual = [&](const fs::path& path) {
    return expected(describe(path));
  };
  EXPECT_EQ(actual(target / "closed/file"), expected(file));
  EXPECT_EQ(actual(target / "closed/link"), expected(link));
  EXPECT_EQ(actual(target / "closed/fifo"), expected(fifo));
  EXPECT_EQ(actual(target / "closed"), expected(closed));
  EXPECT_EQ(actual(target / "old"), expected(old));
  EXPECT_TRUE(tree.shortfalls().empty());
}

TEST(TargetTree, TheRootTakesTheMetadataOfAnEntryWithoutAName) {
  TempFolder folder;
  Entry root = folder_named("");
  root.mode = 0711;

  TargetTree tree(folder / "target", Overwrite::refuse);
  tree.enter(root);
  put(tree, "file", "x");
  tree.leave();
  tree.finish();

  EXPECT_EQ(describe(folder / "target").mode, 0711u);
  EXPECT_EQ(describe(folder / "target").modified, kLongAgo);
}

TEST(TargetTree, TheRootStaysPrivateOtherwise) {
  TempFolder folder;

  TargetTree tree(folder / "target", Overwrite::refuse);
  put(tree, "file", "x");
  tree.finish();

  EXPECT_EQ(describe(folder / "target").mode, 0700u);
}

TEST(TargetTree, RefusesATargetThatIsNotEmptyOrNoFolder) {
  TempFolder folder;
  fs::create_directory(folder / "full");
  write_file(folder / "full/file", "x");
  fs::create_directory(folder / "empty");

  EXPECT_THROW(TargetTree(folder / "full", Overwrite::refuse),
               repo::RefusedForSafety);
  EXPECT_THROW(TargetTree(folder / "full/file", Overwrite::always),
               repo::RefusedForSafety);
  EXPECT_NO_THROW(TargetTree(folder / "empty", Overwrite::refuse));
  EXPECT_NO_THROW(TargetTree(folder / "full", Overwrite::always));
}

TEST(TargetTree, TakesAnEmptyPathForNoFolderAtAll) {
  EXPECT_THROW(TargetTree("", Overwrite::always), repo::IoError);
}

TEST(TargetTree, RefusesNamesThatLeadElsewhere) {
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::always);
  tree.enter(folder_named("sub"));

  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../x"),
        std::string("/etc/x"), std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_THROW(tree.enter(folder_named(name)), repo::CorruptionError);
    EXPECT_THROW((void)tree.create_file(file_named(name, 0)),
                 repo::CorruptionError);
    EXPECT_THROW(tree.create_other(symlink_named(name, "x")),
                 repo::CorruptionError);
    Entry linked = file_named(name, 0);
    linked.hard_link = repo::HardLink{1, 2};
    EXPECT_THROW((void)tree.link(linked), repo::CorruptionError);
  }
  tree.finish();

  EXPECT_EQ(names_in(folder.path()), Names{"target"});
  EXPECT_EQ(names_in(folder / "target"), Names{"sub"});
  EXPECT_TRUE(names_in(folder / "target/sub").empty());
}

TEST(TargetTree, AcceptsAllNamesThatMayOccur) {
  TempFolder folder;
  const Names names{
      " ", "-rf", "...", "\n", "\xc3\x28", "a\\b", std::string(255, 'n')};
  TargetTree tree(folder / "target", Overwrite::refuse);

  for (const auto& name : names) put(tree, name, name);
  EXPECT_THROW(put(tree, std::string(256, 'n'), ""), repo::IoError);
  tree.finish();

  for (const auto& name : names) {
    EXPECT_EQ(read_file(folder / "target" / name), name);
  }
}

TEST(TargetTree, NeverGoesThroughASymlinkThatItMade) {
  TempFolder folder;
  fs::create_directory(folder / "outside");
  write_file(folder / "outside/file", "precious");
  const std::string outside = folder / "outside";
  TargetTree tree(folder / "target", Overwrite::refuse);
  tree.create_other(symlink_named("way", outside));
  tree.create_other(symlink_named("file", outside + "/file"));

  EXPECT_THROW(tree.enter(folder_named("way")), repo::RefusedForSafety);
  EXPECT_THROW(put(tree, "file", "bad"), repo::RefusedForSafety);
  tree.finish();

  EXPECT_EQ(read_file(folder / "outside/file"), "precious");
  EXPECT_EQ(names_in(folder / "outside"), Names{"file"});
}

TEST(TargetTree, NeverGoesThroughASymlinkThatWasThere) {
  for (const Overwrite mode :
       {Overwrite::never, Overwrite::if_changed, Overwrite::always}) {
    TempFolder folder;
    fs::create_directory(folder / "outside");
    write_file(folder / "outside/file", "precious");
    fs::create_directory(folder / "target");
    fs::create_directory_symlink(folder / "outside", folder / "target/way");
    fs::create_symlink(folder / "outside/file", folder / "target/file");
    fs::create_symlink(folder / "outside/new", folder / "target/dangling");
    TargetTree tree(folder / "target", mode);

    const Entered entered = tree.enter(folder_named("way"));
    put(tree, "file", "below");
    tree.leave();
    put(tree, "file", "ours");
    put(tree, "dangling", "ours");
    tree.finish();

    EXPECT_EQ(read_file(folder / "outside/file"), "precious");
    EXPECT_EQ(names_in(folder / "outside"), Names{"file"});
    const bool stays = mode == Overwrite::never;
    EXPECT_EQ(entered, stays ? Entered::passed_over : Entered::yes);
    EXPECT_EQ(fs::is_symlink(folder / "target/way"), stays);
    EXPECT_EQ(fs::is_symlink(folder / "target/file"), stays);
    EXPECT_EQ(fs::is_symlink(folder / "target/dangling"), stays);
    if (!stays) {
      EXPECT_EQ(read_file(folder / "target/file"), "ours");
      EXPECT_EQ(read_file(folder / "target/way/file"), "below");
    }
  }
}

void restore_over_a_symlink() {
  TempFolder folder;
  fs::create_directory(folder / "outside");
  fs::create_directory(folder / "target");
  fs::create_directory_symlink(folder / "outside", folder / "target/way");
  Entry file = file_named("file", 1);
  file.xattrs = {{"user.note", "v"}};
  Entry fifo = entry_named("fifo", EntryType::fifo);
  fifo.mode = 0622;
  TargetTree tree(folder / "target", Overwrite::always);

  tree.enter(folder_named("way"));
  put(tree, file, "x");
  tree.create_other(fifo);
  tree.leave();
  tree.finish();

  EXPECT_TRUE(names_in(folder / "outside").empty());
  EXPECT_EQ(read_file(folder / "target/way/file"), "x");
  EXPECT_EQ(describe(folder / "target/way/file").xattrs, file.xattrs);
  EXPECT_EQ(describe(folder / "target/way/fifo").mode, 0622u);
  EXPECT_EQ(describe(folder / "target/way/fifo").modified, kLongAgo);
  EXPECT_TRUE(tree.shortfalls().empty());
}

TEST(TargetTree, WorksOnKernelsBeforeOpenat2AndListxattrat) {
  EXPECT_EXIT(
      {
        // openat2, fchmodat2, setxattrat to removexattrat
        testing_support::deny_syscalls({437, 452, 463, 464, 465, 466});
        restore_over_a_symlink();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(TargetTree, TellsWhenItCannotBeMadeDurable) {
  EXPECT_EXIT(
      {
        TempFolder folder;
        TargetTree tree(folder / "target", Overwrite::refuse);
        put(tree, "file", "content");
        testing_support::deny_syscalls({SYS_syncfs});
        EXPECT_THROW(tree.finish(), repo::IoError);
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

// The number of a process that is no more.
std::string process_that_is_gone() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return std::to_string(child);
}

TEST(TargetTree, RemovesTheTemporaryFilesOfAProcessThatIsGone) {
  TempFolder folder;
  const std::string dead = ".cairn-" + process_that_is_gone();
  const std::string alive = ".cairn-" + std::to_string(getppid());
  const Names kept = {alive + "-1",  dead,           dead + "-",
                      dead + "-1.x", dead + "-link", dead + "-3"};
  fs::create_directories(folder / "target/sub");
  for (const auto* const place : {"target", "target/sub"}) {
    for (const auto& name : kept) write_file(folder / place / name, "x");
    write_file(folder / place / (dead + "-1"), "half a fi");
    write_file(folder / place / (dead + "-2"), "half a file");
  }
  const int held =
      open((folder / "target" / (dead + "-3")).c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  fs::create_hard_link(folder / "target/sub" / (dead + "-3"),
                       folder / "outside");

  TargetTree tree(folder / "target", Overwrite::always);
  (void)tree.enter(folder_named("sub"));
  tree.leave();
  tree.finish();

  Names expected = kept;
  std::ranges::sort(expected);
  EXPECT_EQ(names_in(folder / "target/sub"), expected);
  expected.push_back("sub");
  EXPECT_EQ(names_in(folder / "target"), expected);
  close(held);
}

// In a container, where each restore may be process 1.
TEST(TargetTree, RemovesWhatAProcessOfItsOwnNumberLeftAndNothingOfItsOwn) {
  TempFolder folder;
  fs::create_directories(folder / "target/sub");
  const std::string left = ".cairn-" + std::to_string(getpid()) + "-1";
  write_file(folder / "target/sub" / left, "half a fi");
  write_file(folder / "target/sub/file", "old");
  TargetTree tree(folder / "target", Overwrite::always);
  tree.enter(folder_named("sub"));
  auto file = tree.create_file(file_named("file", 3));

  TargetTree other(folder / "target", Overwrite::always);
  other.enter(folder_named("sub"));
  file->write(0, bytes_of("new"));
  std::move(*file).finish();

  EXPECT_EQ(names_in(folder / "target/sub"), Names{"file"});
}

// A file has its owner already when it gets its name.
TEST(TargetTree, RemovesATemporaryFileThatWasGivenAwayAlready) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  TempFolder folder;
  fs::create_directory(folder / "target");
  const std::string left =
      folder / "target" / (".cairn-" + process_that_is_gone() + "-1");
  write_file(left, "whole, but killed before its name");
  ASSERT_EQ(chown(left.c_str(), 1, 1), 0);

  TargetTree tree(folder / "target", Overwrite::never);
  tree.finish();

  EXPECT_TRUE(names_in(folder / "target").empty());
}

// Somebody with write access to the target exchanges folders for symlinks to
// the outside, all the time.
TEST(TargetTree, NothingLandsOutsideWhileSymlinksAreSwapped) {
  TempFolder folder;
  fs::create_directory(folder / "outside");
  fs::create_directories(folder / "target/sub");
  const std::string outside = folder / "outside";
  const struct stat outside_before = status_of(folder / "outside");
  const std::string spot = folder / "target/sub";
  const std::string aside = folder / "target/aside";
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  std::jthread swapper([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      // Failures are the restore being in the way; the next round succeeds.
      (void)rename(spot.c_str(), aside.c_str());
      (void)symlink(outside.c_str(), spot.c_str());
      (void)unlink(spot.c_str());
      (void)rename(aside.c_str(), spot.c_str());
      (void)symlink((outside + "/x").c_str(), (spot + "/file").c_str());
    }
  });
  std::size_t rounds = 0;
  std::size_t refused = 0;

  while (std::chrono::steady_clock::now() < until) {
    ++rounds;
    TargetTree tree(folder / "target", Overwrite::always);
    const auto attempt = [&](const std::function<void()>& step) {
      try {
        step();
        return true;
      } catch (const repo::Error&) {
        ++refused;
        return false;
      }
    };
    const bool entered = attempt([&] { tree.enter(folder_named("sub")); });
    if (entered) {
      attempt([&] { put(tree, "file", "content"); });
      attempt([&] { tree.create_other(symlink_named("link", "x")); });
      attempt([&] { tree.leave(); });
    }
    attempt([&] { tree.finish(); });
  }
  swapper.request_stop();
  swapper.join();

  EXPECT_TRUE(names_in(folder / "outside").empty());
  EXPECT_EQ(status_of(folder / "outside").st_mode, outside_before.st_mode);
  EXPECT_LT(refused, 4 * rounds);  // some got through
}

TEST(TargetTree, KeepsWhatExistsWhenToldTo) {
  TempFolder folder;
  fs::create_directories(folder / "target/sub");
  write_file(folder / "target/file", "mine");
  write_file(folder / "target/was folder", "mine");
  fs::permissions(folder / "target/sub", fs::perms(0701));
  TargetTree tree(folder / "target", Overwrite::never);

  EXPECT_FALSE(tree.create_file(file_named("file", 1)).has_value());
  EXPECT_FALSE(tree.create_file(file_named("sub", 1)).has_value());
  EXPECT_FALSE(tree.create_other(symlink_named("file", "x")));
  EXPECT_EQ(tree.enter(folder_named("was folder")), Entered::passed_over);
  EXPECT_EQ(tree.enter(folder_named("below")), Entered::passed_over);
  EXPECT_EQ(tree.path_of("x"), folder / "target/was folder/below/x");
  EXPECT_FALSE(tree.create_file(file_named("new", 1)).has_value());
  tree.leave();
  tree.leave();
  EXPECT_EQ(tree.enter(folder_named("sub")), Entered::yes);
  put(tree, "new", "ours");
  tree.leave();
  tree.finish();

  EXPECT_EQ(read_file(folder / "target/file"), "mine");
  EXPECT_EQ(read_file(folder / "target/was folder"), "mine");
  EXPECT_EQ(read_file(folder / "target/sub/new"), "ours");
  EXPECT_EQ(describe(folder / "target/sub").mode, 0701u);
}

TEST(TargetTree, ReplacesWhatExistsWhenToldTo) {
  TempFolder folder;
  fs::create_directories(folder / "target/empty");
  fs::create_directories(folder / "target/full/sub");
  write_file(folder / "target/file", "a longer old content");
  write_file(folder / "target/was file", "old");
  fs::create_hard_link(folder / "target/file", folder / "other name");
  TargetTree tree(folder / "target", Overwrite::always);

  put(tree, "file", "new");
  put(tree, "empty", "new");
  EXPECT_THROW(put(tree, "full", "new"), repo::RefusedForSafety);
  EXPECT_THROW(tree.create_other(symlink_named("full", "x")),
               repo::RefusedForSafety);
  tree.enter(folder_named("was file"));
  tree.leave();
  tree.create_other(symlink_named("file", "x"));
  put(tree, "file", "newer");
  tree.finish();

  EXPECT_EQ(read_file(folder / "target/file"), "newer");
  EXPECT_EQ(read_file(folder / "target/empty"), "new");
  EXPECT_EQ(read_file(folder / "other name"), "a longer old content");
  EXPECT_TRUE(fs::is_directory(folder / "target/full/sub"));
  EXPECT_TRUE(fs::is_directory(folder / "target/was file"));
  EXPECT_EQ(names_in(folder / "target"),
            (Names{"empty", "file", "full", "was file"}));
}

TEST(TargetTree, TheOldFileIsThereUntilTheNewOneIsFinished) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/file", "old");
  TargetTree tree(folder / "target", Overwrite::always);

  auto file = tree.create_file(file_named("file", 3));
  file->write(0, bytes_of("new"));
  EXPECT_EQ(read_file(folder / "target/file"), "old");
  std::move(*file).finish();

  EXPECT_EQ(read_file(folder / "target/file"), "new");
}

TEST(TargetTree, AFileHasNoNameBeforeItIsFinished) {
  for (const Overwrite mode : {Overwrite::refuse, Overwrite::never,
                               Overwrite::if_changed, Overwrite::always}) {
    TempFolder folder;
    TargetTree tree(folder / "target", mode);

    auto file = tree.create_file(file_named("file", 3));
    file->write(0, bytes_of("new"));
    EXPECT_FALSE(fs::exists(folder / "target/file"));
    std::move(*file).finish();
    tree.finish();

    EXPECT_EQ(read_file(folder / "target/file"), "new");
    EXPECT_EQ(describe(folder / "target/file").modified, kLongAgo);
    EXPECT_EQ(names_in(folder / "target"), Names{"file"});
  }
}

// Somebody makes a file of that name while ours is being written.
void restore_where_a_file_is_made_meanwhile() {
  for (const Overwrite mode : {Overwrite::refuse, Overwrite::never,
                               Overwrite::if_changed, Overwrite::always}) {
    TempFolder folder;
    TargetTree tree(folder / "target", mode);
    put(tree, "other", "ours");
    auto file = tree.create_file(file_named("file", 4));
    file->write(0, bytes_of("ours"));
    write_file(folder / "target/file", "mine");

    const bool replaces =
        mode == Overwrite::if_changed || mode == Overwrite::always;
    if (replaces) {
      std::move(*file).finish();
    } else {
      EXPECT_THROW(std::move(*file).finish(), repo::RefusedForSafety);
    }
    file.reset();
    tree.finish();

    EXPECT_EQ(read_file(folder / "target/file"), replaces ? "ours" : "mine");
    EXPECT_EQ(read_file(folder / "target/other"), "ours");
    EXPECT_EQ(names_in(folder / "target"), (Names{"file", "other"}));
  }
}

TEST(TargetTree, ReplacesNothingThatWasMadeMeanwhileUnlessToldTo) {
  restore_where_a_file_is_made_meanwhile();
}

// As under FAT, where a file has a name from its beginning.
TEST(TargetTree, ReplacesNothingEitherWhereThereAreNoLinks) {
  EXPECT_EXIT(
      {
        testing_support::deny_syscalls({SYS_linkat}, EPERM);
        restore_where_a_file_is_made_meanwhile();
        testing_support::deny_syscalls({SYS_renameat2}, EINVAL);
        restore_where_a_file_is_made_meanwhile();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

void name_a_file_that_may_replace_nothing() {
  TempFolder folder;
  const UniqueFd fd(open(folder.path().c_str(), O_RDONLY | O_CLOEXEC));
  PlacedFile file;
  file.temporary_name = "temporary";
  write_file(folder / "temporary", "ours");
  write_file(folder / "taken", "mine");

  EXPECT_EQ(give_name(fd.get(), file, "taken"), EEXIST);
  EXPECT_EQ(give_name(fd.get(), file, "free"), 0);

  EXPECT_EQ(read_file(folder / "taken"), "mine");
  EXPECT_EQ(read_file(folder / "free"), "ours");
  EXPECT_EQ(names_in(folder.path()), (Names{"free", "taken"}));
}

TEST(TargetTree, NamesAFileWithoutReplacingWhereARenameCannotSaySo) {
  EXPECT_EXIT(
      {
        testing_support::deny_syscalls({SYS_renameat2}, EINVAL);
        name_a_file_that_may_replace_nothing();
        testing_support::deny_syscalls({SYS_linkat}, EPERM);
        name_a_file_that_may_replace_nothing();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(TargetTree, AnAbandonedFileLeavesThePlaceAsItWas) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/file", "old");
  TargetTree tree(folder / "target", Overwrite::always);

  tree.create_file(file_named("file", 3))->write(0, bytes_of("new"));
  tree.create_file(file_named("other", 3))->write(0, bytes_of("new"));
  tree.finish();

  EXPECT_EQ(read_file(folder / "target/file"), "old");
  EXPECT_EQ(names_in(folder / "target"), Names{"file"});
}

TEST(TargetTree, AFileThatMayStayIsThereUntilTheNewOneIsFinished) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/file", "aaaabbbbcccc");
  TargetTree tree(folder / "target", Overwrite::if_changed);

  auto file = tree.create_file(file_named("file", 12));
  EXPECT_TRUE(file->has_old());
  EXPECT_FALSE(file->is_replaced());
  EXPECT_EQ(read_from(*file, 0, 6), "aaaabb");
  file->write(4, bytes_of("BBBB"));
  EXPECT_TRUE(file->is_replaced());
  EXPECT_EQ(read_from(*file, 4, 100), "BBBB");
  testing_support::Bytes old(100);
  old.resize(file->read_old(2, old));
  EXPECT_EQ(testing_support::text_of(old), "aabbbbcccc");
  EXPECT_EQ(read_file(folder / "target/file"), "aaaabbbbcccc");
  file->write(0, bytes_of("aaaa"));
  file->write(8, bytes_of("cccc"));
  std::move(*file).finish();
  tree.finish();

  EXPECT_EQ(read_file(folder / "target/file"), "aaaaBBBBcccc");
  EXPECT_EQ(describe(folder / "target/file").modified, kLongAgo);
  EXPECT_EQ(names_in(folder / "target"), Names{"file"});
}

TEST(TargetTree, AFileThatMayStayStaysAsItWasWhenTheNewOneIsGivenUp) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/file", "old");
  fs::permissions(folder / "target/file", fs::perms(0644));
  const struct stat before = status_of(folder / "target/file");
  for (const std::uint64_t size : {3U, 4U}) {
    TargetTree tree(folder / "target", Overwrite::if_changed);

    auto file = tree.create_file(file_named("file", size));
    EXPECT_EQ(file->is_replaced(), size == 4);
    file->write(0, bytes_of("n"));
    file.reset();

    EXPECT_EQ(read_file(folder / "target/file"), "old");
    EXPECT_EQ(names_in(folder / "target"), Names{"file"});
    const struct stat after = status_of(folder / "target/file");
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(after.st_mode, before.st_mode);
  }
}

TEST(TargetTree, AFileThatIsAsItShouldBeIsNotTouched) {
  TempFolder folder;
  const Entry entry = file_named("file", 4);
  {
    TargetTree tree(folder / "target", Overwrite::refuse);
    put(tree, entry, "same");
    tree.finish();
  }
  const struct stat before = status_of(folder / "target/file");
  TargetTree tree(folder / "target", Overwrite::if_changed);

  auto file = tree.create_file(entry);
  EXPECT_TRUE(file->has_old());
  EXPECT_EQ(read_from(*file, 0, 4), "same");
  std::move(*file).finish();
  tree.finish();

  const struct stat after = status_of(folder / "target/file");
  EXPECT_EQ(after.st_ctim.tv_sec, before.st_ctim.tv_sec);
  EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
}

TEST(TargetTree, AFileWithAnotherNameIsReplaced) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "outside", "precious");
  fs::create_hard_link(folder / "outside", folder / "target/file");
  TargetTree tree(folder / "target", Overwrite::if_changed);

  auto file = tree.create_file(file_named("file", 8));
  EXPECT_FALSE(file->has_old());
  file->write(0, bytes_of("restored"));
  std::move(*file).finish();

  EXPECT_EQ(read_file(folder / "outside"), "precious");
  EXPECT_EQ(read_file(folder / "target/file"), "restored");
}

TEST(TargetTree, AFileThatOthersMayWriteIsReplaced) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/file", "old");
  fs::permissions(folder / "target/file", fs::perms(0666));
  const struct stat before = status_of(folder / "target/file");
  TargetTree tree(folder / "target", Overwrite::if_changed);

  put(tree, "file", "new");

  EXPECT_EQ(read_file(folder / "target/file"), "new");
  EXPECT_NE(status_of(folder / "target/file").st_ino, before.st_ino);
}

TEST(TargetTree, AnEntryWhoseContentIsTooLongIsDamage) {
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);

  auto file = tree.create_file(file_named("file", 4));

  EXPECT_THROW(file->write(2, bytes_of("long")), repo::CorruptionError);
  EXPECT_THROW(file->write(~std::uint64_t{0}, bytes_of("x")),
               repo::CorruptionError);
}

TEST(TargetTree, SizesBeyondTheFileSystemAreAnError) {
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);

  for (const std::uint64_t size : {std::uint64_t{1} << 63, ~std::uint64_t{0},
                                   (std::uint64_t{1} << 63) - 1}) {
    Entry entry = file_named("file", size);
    entry.holes = {{0, size}, {5, ~std::uint64_t{0}}, {~std::uint64_t{0}, 1}};
    auto file = tree.create_file(entry);
    EXPECT_THROW(std::move(*file).finish(), repo::IoError);
  }
  tree.finish();

  EXPECT_TRUE(names_in(folder / "target").empty());
}

TEST(TargetTree, HolesStayHoles) {
  TempFolder folder;
  constexpr std::uint64_t kPart = 1 << 20;
  Entry entry = file_named("file", 3 * kPart);
  entry.holes = {{0, kPart}, {2 * kPart, kPart}};
  const std::string data(kPart, 'd');

  for (const Overwrite mode : {Overwrite::refuse, Overwrite::if_changed}) {
    if (mode == Overwrite::if_changed) {
      write_file(folder / "target/file", std::string(4 * kPart, 'x'));
    }
    TargetTree tree(folder / "target", mode);
    auto file = tree.create_file(entry);
    file->write(kPart, bytes_of(data));
    std::move(*file).finish();
    tree.finish();

    const auto holes = describe(folder / "target/file").holes;
    if (holes.empty()) GTEST_SKIP() << "no holes here";
    EXPECT_EQ(holes, entry.holes);
    EXPECT_EQ(read_file(folder / "target/file"),
              std::string(kPart, '\0') + data + std::string(kPart, '\0'));
  }
}

TEST(TargetTree, ManyThreadsWriteOneFile) {
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);
  auto file = tree.create_file(file_named("file", 400'000));
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 0; i < 4; ++i) {
      threads.emplace_back([&file, i] {
        const auto part =
            bytes_of(std::string(1000, static_cast<char>('a' + i)));
        for (std::uint64_t at = i; at < 400; at += 4) {
          file->write(at * 1000, part);
        }
      });
    }
  }
  std::move(*file).finish();
  tree.finish();

  const std::string content = read_file(folder / "target/file");
  ASSERT_EQ(content.size(), 400'000u);
  for (std::size_t i = 0; i < content.size(); ++i) {
    ASSERT_EQ(content[i], static_cast<char>('a' + i / 1000 % 4));
  }
}

TEST(TargetTree, AFolderKeepsItsTimesThoughFilesFinishAfterItWasLeft) {
  TempFolder folder;
  fs::create_directories(folder / "target/sub");
  write_file(folder / "target/sub/file", "old");
  Entry sub = folder_named("sub");
  sub.mode = 0500;
  TargetTree tree(folder / "target", Overwrite::always);
  tree.enter(sub);
  std::vector<TargetFile> files;
  for (const char* name : {"a", "b", "file"}) {
    files.push_back(*tree.create_file(file_named(name, 3)));
  }
  tree.leave();

  {
    std::vector<std::jthread> threads;
    for (TargetFile& file : files) {
      threads.emplace_back([&file] {
        file.write(0, bytes_of("new"));
        std::move(file).finish();
      });
    }
  }
  files.clear();
  tree.finish();

  EXPECT_EQ(read_file(folder / "target/sub/file"), "new");
  EXPECT_EQ(describe(folder / "target/sub").mode, 0500u);
  EXPECT_EQ(describe(folder / "target/sub").modified, kLongAgo);
}

TEST(TargetTree, LinksFurtherNames) {
  TempFolder folder;
  Entry first = file_named("first", 4);
  first.hard_link = repo::HardLink{7, 9};
  Entry second = first;
  second.name = "second";
  TargetTree tree(folder / "target", Overwrite::refuse);
  tree.enter(folder_named("a"));
  tree.enter(folder_named("b"));
  EXPECT_EQ(tree.link(first), Linked::unknown);
  auto file = tree.create_file(first);
  EXPECT_EQ(tree.link(second), Linked::unfinished);
  file->write(0, bytes_of("data"));
  std::move(*file).finish();

  EXPECT_EQ(tree.link(second), Linked::done);
  tree.leave();
  tree.leave();
  EXPECT_EQ(tree.link(second), Linked::done);
  tree.finish();

  const fs::path target = folder / "target";
  EXPECT_EQ(fs::hard_link_count(target / "second"), 3u);
  EXPECT_TRUE(fs::equivalent(target / "a/b/first", target / "second"));
  EXPECT_TRUE(fs::equivalent(target / "a/b/second", target / "second"));
  EXPECT_EQ(describe(target / "a/b").modified, kLongAgo);
  EXPECT_TRUE(tree.shortfalls().empty());
}

TEST(TargetTree, LinksOverWhatExists) {
  TempFolder folder;
  fs::create_directories(folder / "target/full/sub");
  write_file(folder / "target/second", "old");
  Entry entry = file_named("first", 4);
  entry.hard_link = repo::HardLink{7, 9};
  TargetTree tree(folder / "target", Overwrite::always);
  put(tree, entry, "data");

  for (const char* name : {"second", "second", "first"}) {
    entry.name = name;
    EXPECT_EQ(tree.link(entry), Linked::done);
  }
  entry.name = "full";
  EXPECT_THROW((void)tree.link(entry), repo::RefusedForSafety);
  tree.finish();

  EXPECT_TRUE(
      fs::equivalent(folder / "target/first", folder / "target/second"));
  EXPECT_EQ(names_in(folder / "target"), (Names{"first", "full", "second"}));
}

TEST(TargetTree, FindsAFileWithSeveralNamesForOneEntryOnlyThatHasThem) {
  TempFolder folder;
  Entry single = file_named("a", 4);
  Entry one = file_named("b", 4);
  one.hard_link = repo::HardLink{7, 9};
  Entry other = file_named("c", 4);
  other.hard_link = repo::HardLink{7, 10};
  {
    TargetTree tree(folder / "target", Overwrite::refuse);
    put(tree, single, "data");
    tree.finish();
  }
  for (const char* const name : {"b", "c", "d"}) {
    fs::create_hard_link(folder / "target/a", folder / "target" / name);
  }
  TargetTree tree(folder / "target", Overwrite::if_changed);

  EXPECT_FALSE(tree.find_linked(single));
  EXPECT_TRUE(tree.find_linked(one));  // given up: another may still be it
  auto found = tree.find_linked(one);
  ASSERT_TRUE(found);
  std::move(*found).finish();
  EXPECT_FALSE(tree.find_linked(other));
  one.name = "d";
  EXPECT_EQ(tree.link(one), Linked::done);
}

TEST(TargetTree, LinksOnlyToTheFileItMade) {
  TempFolder folder;
  write_file(folder / "outside", "precious");
  Entry entry = file_named("first", 4);
  entry.hard_link = repo::HardLink{7, 9};
  TargetTree tree(folder / "target", Overwrite::refuse);
  put(tree, entry, "data");
  fs::remove(folder / "target/first");
  fs::create_hard_link(folder / "outside", folder / "target/first");

  entry.name = "second";
  EXPECT_EQ(tree.link(entry), Linked::unknown);
  tree.finish();

  EXPECT_EQ(names_in(folder / "target"), Names{"first"});
  ASSERT_EQ(tree.shortfalls().size(), 1u);
  EXPECT_EQ(tree.shortfalls()[0].what, "hard link");
}

TEST(TargetTree, AnAbandonedFileIsNoneToLinkTo) {
  TempFolder folder;
  Entry entry = file_named("first", 4);
  entry.hard_link = repo::HardLink{7, 9};
  TargetTree tree(folder / "target", Overwrite::refuse);

  tree.create_file(entry).reset();

  EXPECT_EQ(tree.link(entry), Linked::unknown);
}

TEST(TargetTree, LinksSymlinksToo) {
  TempFolder folder;
  Entry entry = symlink_named("first", "x");
  entry.hard_link = repo::HardLink{7, 9};
  TargetTree tree(folder / "target", Overwrite::refuse);
  tree.create_other(entry);

  entry.name = "second";
  EXPECT_EQ(tree.link(entry), Linked::done);

  EXPECT_EQ(status_of(folder / "target/second").st_nlink, 2u);
}

TEST(TargetTree, SetsXattrsAndAclsAndRemovesInheritedOnes) {
  TempFolder folder;
  fs::create_directory(folder / "target");
  const std::string target = folder / "target";
  if (std::system(("setfacl -d -m u:1:rwx " + target).c_str()) != 0) {
    GTEST_SKIP() << "no ACLs here";
  }
  write_file(folder / "model", "x");
  const std::string model = folder / "model";
  ASSERT_EQ(std::system(("setfacl -m u:1:rw,u:2:r " + model).c_str()), 0);
  ASSERT_EQ(setxattr(model.c_str(), "user.note", "v\0w", 3, 0), 0);
  Entry with = describe(model);
  with.name = "with";
  Entry without = file_named("without", 1);
  TargetTree tree(folder / "target", Overwrite::always);

  put(tree, with, "x");
  put(tree, without, "x");
  tree.finish();

  EXPECT_EQ(describe(folder / "target/with"), with);
  EXPECT_EQ(with.xattrs.size(), 2u);
  EXPECT_TRUE(describe(folder / "target/without").xattrs.empty());
  EXPECT_EQ(describe(folder / "target/without").mode, without.mode);
  EXPECT_TRUE(tree.shortfalls().empty());
}

TEST(TargetTree, SetuidAndCapabilitiesSurviveTheChangeOfOwner) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  TempFolder folder;
  write_file(folder / "model", "x");
  ASSERT_EQ(
      std::system(
          ("setcap cap_net_raw+ep " + (folder / "model").native()).c_str()),
      0);
  Entry file = describe(folder / "model");
  file.name = "file";
  file.uid = 1;
  file.gid = 2;
  file.mode = 06755;
  Entry folder_entry = folder_named("sub");
  folder_entry.uid = 1;
  folder_entry.mode = 03775;
  Entry link = symlink_named("link", "x");
  link.uid = 3;
  link.gid = 4;
  link.xattrs = {{"trusted.l", "1"}};
  Entry device = entry_named("device", EntryType::block_device);
  device.device = repo::DeviceNumber{7, 300};
  device.uid = 5;
  TargetTree tree(folder / "target", Overwrite::refuse);

  tree.enter(folder_entry);
  put(tree, file, "x");
  tree.create_other(link);
  tree.create_other(device);
  tree.finish();

  const fs::path sub = folder / "target/sub";
  const Entry made = describe(sub / "file");
  EXPECT_EQ(made.uid, 1u);
  EXPECT_EQ(made.gid, 2u);
  EXPECT_EQ(made.mode, 06755u);
  EXPECT_EQ(made.xattrs, file.xattrs);
  EXPECT_EQ(made.xattrs.size(), 1u);
  EXPECT_EQ(describe(sub).mode, 03775u);
  EXPECT_EQ(describe(sub / "link").uid, 3u);
  EXPECT_EQ(describe(sub / "link").xattrs, link.xattrs);
  EXPECT_EQ(describe(sub / "device").device, device.device);
  EXPECT_EQ(describe(sub / "device").uid, 5u);
  EXPECT_TRUE(tree.shortfalls().empty());
}

TEST(TargetTree, WithoutTheRightOwnerThereIsNoSetuid) {
  if (geteuid() == 0) GTEST_SKIP() << "root may give files away";
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);
  for (int i = 0; i < 3; ++i) {
    Entry file = file_named("file " + std::to_string(i), 1);
    file.uid = 0;
    file.gid = 0;
    file.mode = 06755;
    file.xattrs = {{"trusted.t", "v"}, {"user.u", "v"}};
    put(tree, file, "x");
  }
  Entry device = entry_named("device", EntryType::char_device);
  device.device = repo::DeviceNumber{1, 3};
  EXPECT_THROW(tree.create_other(device), repo::IoError);
  tree.finish();

  EXPECT_EQ(describe(folder / "target/file 0").mode, 0755u);
  EXPECT_EQ(describe(folder / "target/file 0").xattrs,
            (std::vector<repo::Xattr>{{"user.u", "v"}}));
  std::map<std::string, std::uint64_t> met;
  for (const Shortfall& shortfall : tree.shortfalls()) {
    met[shortfall.what] = shortfall.count;
  }
  EXPECT_EQ(
      met,
      (std::map<std::string, std::uint64_t>{
          {"owner", 3}, {"setgid", 3}, {"setuid", 3}, {"xattr trusted.t", 3}}));
  EXPECT_EQ(tree.shortfalls()[0].first, folder / "target/file 0");
}

TEST(TargetTree, HostileXattrsAreShortfallsAndBounded) {
  TempFolder folder;
  Entry file = file_named("file", 0);
  file.xattrs = {{"system.other", "v"},
                 {"user.\0x", "v"},
                 {std::string("user.a\0b", 8), "v"},
                 {"user." + std::string(300, 'n'), "v"},
                 {"user.big", std::string(1 << 20, 'v')},
                 {"", ""}};
  for (int i = 0; i < 500; ++i) {
    file.xattrs.push_back({"none." + std::to_string(i), "v"});
  }
  file.modified = {.seconds = 1, .nanoseconds = UTIME_NOW};
  TargetTree tree(folder / "target", Overwrite::refuse);

  put(tree, file, "");
  tree.finish();

  EXPECT_TRUE(describe(folder / "target/file").xattrs.empty());
  EXPECT_LE(tree.shortfalls().size(), 101u);
}

TEST(TargetTree, OpensFoldersThatWereClosedToTheirOwner) {
  TempFolder folder;
  fs::create_directories(folder / "target/read-only");
  fs::create_directories(folder / "target/shut");
  fs::permissions(folder / "target/read-only", fs::perms(0555));
  fs::permissions(folder / "target/shut", fs::perms::none);
  Entry read_only = folder_named("read-only");
  read_only.mode = 0555;
  Entry shut = folder_named("shut");
  shut.mode = 0;
  TargetTree tree(folder / "target", Overwrite::always);

  for (const Entry& entry : {read_only, shut}) {
    tree.enter(entry);
    put(tree, "file", "x");
    tree.leave();
  }
  tree.finish();

  EXPECT_EQ(describe(folder / "target/read-only").mode, 0555u);
  EXPECT_EQ(describe(folder / "target/shut").mode, 0u);
  fs::permissions(folder / "target/shut", fs::perms(0700));
  EXPECT_EQ(read_file(folder / "target/shut/file"), "x");
}

TEST(TargetTree, ManagesAnyDepthWithFewDescriptors) {
  constexpr int kDepth = 2'000;
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);
  Entry deep = folder_named("d");
  deep.mode = 0500;
  Entry linked = file_named("linked", 1);
  linked.hard_link = repo::HardLink{1, 1};

  for (int i = 0; i < kDepth; ++i) tree.enter(deep);
  put(tree, linked, "x");
  const auto descriptors =
      std::distance(fs::directory_iterator("/proc/self/fd"), {});
  for (int i = 0; i < kDepth; ++i) {
    if (i % 100 == 0) put(tree, "file", "x");
    tree.leave();
  }
  EXPECT_EQ(tree.link(linked), Linked::done);
  tree.finish();

  EXPECT_LT(descriptors, 100);
  EXPECT_EQ(read_file(folder / "target/linked"), "x");
  EXPECT_EQ(describe(folder / "target/d").mode, 0500u);
  EXPECT_EQ(describe(folder / "target/d/d/d").modified, kLongAgo);
}

TEST(TargetTree, GoesOnAfterAFolderWasMovedOutOfTheTarget) {
  TempFolder folder;
  TargetTree tree(folder / "target", Overwrite::refuse);
  for (int i = 0; i < 100; ++i) tree.enter(folder_named("d"));
  fs::path tenth = folder / "target";
  for (int i = 0; i < 10; ++i) tenth /= "d";
  fs::rename(tenth, folder / "moved");
  fs::rename(folder / "target/d/d", folder / "moved too");

  std::size_t lost = 0;
  for (int i = 0; i < 100; ++i) {
    try {
      tree.leave();
    } catch (const repo::IoError&) {
      ++lost;
    }
    try {
      put(tree, "file", "x");
    } catch (const repo::IoError&) {
      ++lost;
    }
  }
  tree.finish();

  EXPECT_EQ(lost, 16u);  // the folders 2 to 9, and a file in each
  EXPECT_EQ(read_file(folder / "target/file"), "x");
  EXPECT_EQ(read_file(folder / "target/d/file"), "x");
  EXPECT_FALSE(fs::exists(folder / "file"));
  EXPECT_EQ(names_in(folder / "moved too"), Names{"d"});
}

// Restores what a source gives as it gives it, without a repository between.
class Copier : public FileVisitor {
 public:
  // Parents of `top` are passed through.
  Copier(const fs::path& top, TargetTree& target)
      : above_(std::distance(top.begin(), top.end()) - 2), target_(target) {}

  void folder_begins(const Entry& folder) override {
    if (depth_++ < above_) return;
    Entry entry = folder;
    if (depth_ == above_ + 1) entry.name.clear();
    target_.enter(entry);
  }
  void folder_ends() override {
    if (--depth_ >= above_) target_.leave();
  }
  void file(const Entry& entry, const FileState&, std::string_view,
            Opener& opener) override {
    OpenFile source = opener.open();
    Entry whole = entry;
    whole.holes = source.holes();
    if (whole.hard_link && target_.link(whole) == Linked::done) return;
    auto file = target_.create_file(whole);
    testing_support::Bytes part(5000);
    std::uint64_t at = 0;
    auto hole = whole.holes.begin();
    while (const std::size_t size = source.read(part)) {
      std::span<const std::byte> rest = std::span(part).first(size);
      while (!rest.empty()) {
        if (hole != whole.holes.end() && hole->offset == at) {
          at += (hole++)->size;
        }
        const std::uint64_t room =
            hole == whole.holes.end() ? rest.size() : hole->offset - at;
        const auto now = rest.first(std::min<std::uint64_t>(room, rest.size()));
        file->write(at, now);
        at += now.size();
        rest = rest.subspan(now.size());
      }
    }
    std::move(*file).finish();
  }
  void other(const Entry& entry) override {
    if (entry.hard_link && target_.link(entry) == Linked::done) return;
    target_.create_other(entry);
  }
  void socket_skipped(std::string_view) override {}
  void excluded(std::string_view) override {}
  void unreadable(std::string_view path, std::string_view why) override {
    ADD_FAILURE() << path << ": " << why;
  }

 private:
  const std::ptrdiff_t above_;
  std::ptrdiff_t depth_ = 0;
  TargetTree& target_;
};

void copy_tree(const fs::path& from, const fs::path& to, Overwrite overwrite) {
  TargetTree target(to, overwrite);
  Copier copier(from, target);
  FileSource(std::vector{from.native()}, {}).walk(copier, {});
  target.finish();
  EXPECT_TRUE(target.shortfalls().empty());
}

struct Found {
  Entry entry;
  std::string content;
  // The first path of the same file.
  fs::path first_name;

  bool operator==(const Found&) const = default;
};

std::map<fs::path, Found> everything_in(const fs::path& top) {
  std::map<fs::path, Found> all;
  std::map<repo::HardLink, fs::path> first_names;
  std::vector<fs::path> paths{top};
  for (const auto& entry : fs::recursive_directory_iterator(top)) {
    paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  for (const auto& path : paths) {
    const fs::path relative = path.lexically_relative(top);
    Found found{.entry = describe(path), .content = {}, .first_name = relative};
    if (path == top) found.entry.name.clear();
    if (found.entry.type == EntryType::file) found.content = read_file(path);
    if (found.entry.hard_link) {
      found.first_name =
          first_names.try_emplace(*found.entry.hard_link, relative)
              .first->second;
      found.entry.hard_link.reset();
    }
    all.emplace(relative, std::move(found));
  }
  return all;
}

void set_random_metadata(std::mt19937_64& random, const fs::path& path) {
  const bool is_symlink = fs::is_symlink(path);
  const char* const name = path.c_str();
  if (geteuid() == 0 && random() % 2 == 0) {
    ASSERT_EQ(lchown(name, static_cast<uid_t>(random() % 100),
                     static_cast<gid_t>(random() % 100)),
              0);
  }
  if (!is_symlink) {
    if (fs::is_regular_file(path) && random() % 3 == 0) {
      const std::string value(random() % 2000, 'v');
      (void)setxattr(name, "user.note", value.data(), value.size(), 0);
    }
    ASSERT_EQ(chmod(name, 0700 | static_cast<mode_t>(random() % 07777)), 0);
  }
  const timespec times[]{
      {0, UTIME_OMIT},
      {static_cast<time_t>(random() % 2'000'000'000) - 100'000'000,
       static_cast<long>(random() % 1'000'000'000)}};
  ASSERT_EQ(utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

// Leaves out what a user who is not root may not make.
void make_random_tree(std::mt19937_64& random, const fs::path& top) {
  std::vector<fs::path> folders{top};
  std::vector<fs::path> files;
  fs::create_directory(top);
  for (int i = 0; i < 30; ++i) {
    const fs::path path =
        folders[random() % folders.size()] /
        ("\xff\n" + std::string(random() % 200, 'n') + std::to_string(i));
    switch (random() % 6) {
      case 0:
        fs::create_directory(path);
        folders.push_back(path);
        break;
      case 1:
        fs::create_symlink(std::string(1 + random() % 100, 't'), path);
        break;
      case 2:
        ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
        break;
      case 3:
        if (!files.empty()) {
          fs::create_hard_link(files[random() % files.size()], path);
          break;
        }
        [[fallthrough]];
      default:
        std::ofstream out(path, std::ios::binary);
        for (std::uint64_t parts = random() % 4; parts > 0; --parts) {
          if (random() % 2 == 0) {
            out.seekp(static_cast<std::streamoff>(random() % 200'000),
                      std::ios::cur);
          }
          out << std::string(random() % 30'000, static_cast<char>(random()));
        }
        files.push_back(path);
    }
  }
  std::vector<fs::path> all(fs::recursive_directory_iterator(top), {});
  std::ranges::sort(all, std::greater<>());  // folders after what they hold
  all.push_back(top);
  for (const auto& path : all) set_random_metadata(random, path);
}

TEST(TargetTree, ARestoredTreeIsTheSame) {
  testing_support::for_each_seed(20, [](auto& random) {
    TempFolder folder;
    make_random_tree(random, folder / "source");
    const auto original = everything_in(folder / "source");

    copy_tree(folder / "source", folder / "copy", Overwrite::refuse);
    EXPECT_EQ(everything_in(folder / "copy"), original);
  });
}

TEST(TargetTree, ATreeRestoredOverAnotherIsTheSameToo) {
  for (const Overwrite mode : {Overwrite::if_changed, Overwrite::always}) {
    testing_support::for_each_seed(10, [mode](auto& random) {
      TempFolder folder;
      make_random_tree(random, folder / "source");
      const auto original = everything_in(folder / "source");
      copy_tree(folder / "source", folder / "copy", Overwrite::refuse);
      for (const auto& [path, found] : original) {
        const fs::path copied = folder / "copy" / path;
        if (found.entry.type == EntryType::file && random() % 2 == 0) {
          write_file(copied, std::string(random() % 50'000, 'o'));
        }
        set_random_metadata(random, copied);
      }

      copy_tree(folder / "source", folder / "copy", mode);
      EXPECT_EQ(everything_in(folder / "copy"), original);
    });
  }
}

TEST(TargetTree, TellsThatTheSpaceIsFull) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  TempFolder folder;
  const std::string target = folder / "target";
  fs::create_directory(target);
  if (std::system(("mount -t tmpfs -o size=64k none " + target + " 2>/dev/null")
                      .c_str()) != 0) {
    GTEST_SKIP() << "may not mount";
  }
  {
    TargetTree tree(target, Overwrite::refuse);
    auto file = tree.create_file(file_named("file", 1 << 20));
    EXPECT_THROW(file->write(0, bytes_of(std::string(1 << 20, 'x'))),
                 repo::OutOfSpace);
    file.reset();
    EXPECT_TRUE(names_in(target).empty());
  }
  EXPECT_EQ(std::system(("umount " + target).c_str()), 0);
}

}  // namespace
}  // namespace cairn::ingest
