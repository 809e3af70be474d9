#include "ingest/restore.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ingest/backup.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/tree_reader.h"
#include "tests/support/bytes.h"
#include "tests/support/deny_syscalls.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_repository.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using repo::Entry;
using repo::EntryType;
using repo::Link;
using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::Files;
using testing_support::random_bytes;
using testing_support::read_file;
using testing_support::StateWriter;
using testing_support::TempFolder;
using testing_support::TestRepository;
using testing_support::text_of;
using testing_support::write_file;

// What a test can see of a file, folder or link.
struct Seen {
  std::string content;  // of a file; of a symlink its target
  mode_t mode = 0;      // with the type
  nlink_t names = 0;    // of anything but a folder
  std::int64_t modified = 0;
  std::vector<repo::Extent> data;  // of a file, what lies between its holes

  bool operator==(const Seen&) const = default;
};

void PrintTo(const Seen& seen, std::ostream* out) {
  *out << "mode " << std::oct << seen.mode << std::dec << ", " << seen.names
       << " names, modified " << seen.modified << ", " << seen.content.size()
       << " bytes: " << seen.content.substr(0, 40) << ", data at";
  for (const auto& extent : seen.data) {
    *out << " " << extent.offset << "+" << extent.size;
  }
}

// Not by the number of blocks: while the system writes a file out, some file
// systems count a block twice or not at all.
std::vector<repo::Extent> data_of(const fs::path& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(file) << path;
  std::vector<repo::Extent> data;
  off_t end = 0;
  for (;;) {
    const off_t begin = lseek(file.get(), end, SEEK_DATA);
    if (begin < 0) return data;
    end = lseek(file.get(), begin, SEEK_HOLE);
    data.push_back({static_cast<std::uint64_t>(begin),
                    static_cast<std::uint64_t>(end - begin)});
  }
}

Seen look_at(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  Seen seen;
  seen.mode = status.st_mode;
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  seen.modified = status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec;
  if (S_ISLNK(status.st_mode)) seen.content = fs::read_symlink(path).native();
  if (S_ISREG(status.st_mode)) {
    seen.content = read_file(path);
    seen.data = data_of(path);
  }
  if (!S_ISDIR(status.st_mode)) seen.names = status.st_nlink;
  return seen;
}

// By their paths below `root`, which is "".
std::map<std::string, Seen> look_at_tree(const fs::path& root) {
  std::map<std::string, Seen> tree;
  tree[""] = look_at(root);
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    tree[entry.path().lexically_relative(root)] = look_at(entry.path());
  }
  return tree;
}

// Regular files with their contents.
Files files_in(const fs::path& root) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file() || entry.is_symlink()) continue;
    files[entry.path().lexically_relative(root)] =
        bytes_of(read_file(entry.path()));
  }
  return files;
}

Entry entry_named(std::string name, EntryType type, std::uint64_t size = 0) {
  Entry entry;
  entry.name = std::move(name);
  entry.type = type;
  entry.mode = type == EntryType::folder ? 0750 : 0640;
  entry.uid = geteuid();
  entry.gid = getegid();
  entry.modified = {.seconds = 1'000'000'000, .nanoseconds = 5};
  entry.size = size;
  return entry;
}

class Restore : public ::testing::Test {
 protected:
  // Of the snapshot that was committed last.
  repo::BlobId root() {
    const auto list = repository.snapshots(at_hour(0));
    EXPECT_FALSE(list.snapshots.empty());
    return list.snapshots.back().snapshot.header.root;
  }

  repo::BlobId write(const Files& files,
                     const testing_support::FilesOptions& options = {}) {
    testing_support::write_snapshot(repository, files, at_hour(++hours_),
                                    options);
    return root();
  }

  repo::BlobId commit(StateWriter& writer) {
    writer.commit(at_hour(++hours_));
    return root();
  }

  repo::BlobId back_up(const fs::path& source) {
    std::vector<Source> sources;
    sources.emplace_back(FilesToBackUp{{source.native()}, {}});
    BackupOptions options;
    options.series = "host/files";
    options.now = at_hour(++hours_);
    repo::Progress ignored;
    const auto report =
        ingest::back_up(repository, std::move(sources), options, ignored, {});
    EXPECT_TRUE(report.is_complete);
    return root();
  }

  RestoreReport restore(const repo::BlobId& snapshot_root,
                        const RestoreOptions& options) {
    progress.bytes_done = 0;
    return ingest::restore(repository, snapshot_root, options, progress, {});
  }

  // The pack and place of the chunk with these bytes.
  repo::BlobCopy place_of(const Bytes& chunk) {
    const auto id = repository.keyring().id_of(repo::BlobKind::content, chunk);
    return repository.index().find(id).at(0);
  }

  void damage(const repo::BlobCopy& copy) {
    const auto pack = repository.index().pack(copy.pack);
    stored.disk().flip_bit(repo::pack_name(pack.id), copy.offset, 3);
  }

  TestRepository stored;
  repo::Repository repository = stored.open();
  TempFolder folder;
  const fs::path target = folder / "target";
  std::mt19937_64 random{1};
  repo::Progress progress;

 private:
  int hours_ = 0;
};

TEST_F(Restore, GivesBackWhatWasBackedUp) {
  const fs::path source = folder / "source";
  fs::create_directories(source / "empty");
  fs::create_directories(source / "deep/er/still");
  write_file(source / "small", "a few bytes");
  write_file(source / "nothing", "");
  write_file(source / "deep/er/large", text_of(random_bytes(random, 3 << 20)));
  write_file(source / "deep/er/still/\xff\x01 odd name", "odd");
  fs::create_symlink("../nowhere", source / "deep/link");
  fs::create_hard_link(source / "small", source / "deep/same as small");
  fs::create_hard_link(source / "deep/er/large", source / "deep/er/large too");
  ASSERT_EQ(mkfifo((source / "fifo").c_str(), 0622), 0);
  write_file(source / "sparse", "begin");
  fs::resize_file(source / "sparse", 40 << 20);
  {
    std::ofstream out(source / "sparse", std::ios::in | std::ios::binary);
    out.seekp(10 << 20);
    out << text_of(random_bytes(random, 200'000));
  }
  fs::permissions(source / "small", fs::perms(0604));
  fs::permissions(source / "empty", fs::perms(0500));
  fs::last_write_time(source / "deep/er/still",
                      fs::file_time_type(std::chrono::seconds(-1)));
  const auto before = look_at_tree(source);
  const auto snapshot = back_up(source);

  const auto report = restore(
      snapshot,
      {.path = source.native(), .target = target, .read_back = ReadBack::yes});

  EXPECT_EQ(look_at_tree(target), before);
  EXPECT_TRUE(report.failures.empty());
  EXPECT_EQ(report.failure_count, 0u);
  EXPECT_EQ(report.files, 5u);
  EXPECT_EQ(report.hard_links, 2u);
  EXPECT_EQ(report.folders, 4u);
  EXPECT_EQ(report.symlinks, 1u);
  EXPECT_EQ(report.others, 1u);
  EXPECT_EQ(report.files_read_back, report.files);
  EXPECT_EQ(progress.bytes_done, progress.bytes_total);
}

TEST_F(Restore, WithoutAPathMakesFullPathsBelowTheTarget) {
  const fs::path source = folder / "source";
  fs::create_directories(source);
  write_file(source / "file", "content");
  const auto snapshot = back_up(source);

  restore(snapshot, {.target = target});

  EXPECT_EQ(read_file(target / source.relative_path() / "file"), "content");
  EXPECT_EQ(look_at_tree(target / source.relative_path()),
            look_at_tree(source));
}

TEST_F(Restore, AFileLandsInTheTargetUnderItsOwnName) {
  const auto snapshot =
      write({{"a/b/file", bytes_of("wanted")}, {"a/other", bytes_of("not")}});

  const auto report =
      restore(snapshot, {.path = "/a/b/file", .target = target});

  EXPECT_EQ(files_in(target), (Files{{"file", bytes_of("wanted")}}));
  EXPECT_EQ(report.files, 1u);
}

TEST_F(Restore, AStreamBecomesAFile) {
  StateWriter writer(repository);
  const Bytes bytes = bytes_of("a dump");
  const Link chunk = writer.chunk(bytes);
  writer.add(entry_named("db.sql", EntryType::stream, bytes.size()),
             std::span(&chunk, 1));
  const auto snapshot = commit(writer);

  restore(snapshot, {.target = target});

  EXPECT_EQ(read_file(target / "db.sql"), "a dump");
}

// Restores on a thread on whose behalf the kernel refuses some calls: there is
// no way back from that.
template <typename Run>
void on_a_thread_without(std::initializer_list<unsigned> calls, unsigned error,
                         Run run) {
  std::thread([&] {
    testing_support::deny_syscalls(calls, error);
    run();
  }).join();
}

TEST_F(Restore, ADeviceThatCannotBeMadeIsAFailure) {
  StateWriter writer(repository);
  writer.begin_folder("dev");
  Entry device = entry_named("null", EntryType::char_device);
  device.device = repo::DeviceNumber{1, 3};
  writer.add(device);
  writer.end_folder();
  writer.add_file("file", {});
  const auto snapshot = commit(writer);
  RestoreReport report;

  on_a_thread_without({SYS_mknodat, SYS_mknod}, EPERM,
                      [&] { report = restore(snapshot, {.target = target}); });

  EXPECT_FALSE(fs::exists(fs::symlink_status(target / "dev/null")));
  EXPECT_EQ(report.others, 0u);
  EXPECT_EQ(report.files, 1u);
  ASSERT_EQ(report.failure_count, 1u);
  EXPECT_EQ(report.failures[0].path, "dev/null");
  EXPECT_EQ(report.failures[0].cause, FailureCause::io_error);
  EXPECT_EQ(report.damage_count, 0u);
  EXPECT_TRUE(report.shortfalls.empty());
}

TEST_F(Restore, MetadataThatADiskHasNoRoomForIsAFailure) {
  constexpr unsigned kSetxattrat = 463;
  StateWriter writer(repository);
  writer.begin_folder("folder");
  const Bytes content = bytes_of("content");
  const Link chunk = writer.chunk(content);
  for (const char* const name : {"one", "two"}) {
    Entry entry = entry_named(name, EntryType::file, content.size());
    entry.xattrs = {{"user.note", "v"}};
    writer.add(entry, std::span(&chunk, 1));
  }
  writer.end_folder();
  const auto snapshot = commit(writer);

  for (const int error : {ENOSPC, EDQUOT, EIO, EOPNOTSUPP}) {
    for (const std::string path : {"", "folder", "folder/one"}) {
      SCOPED_TRACE(path + ", error " + std::to_string(error));
      fs::remove_all(target);
      RestoreReport report;
      on_a_thread_without(
          {kSetxattrat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr},
          static_cast<unsigned>(error), [&] {
            report = restore(snapshot, {.path = path, .target = target});
          });

      EXPECT_EQ(report.files, path == "folder/one" ? 1u : 2u);
      if (error == EOPNOTSUPP) {
        EXPECT_EQ(report.failure_count, 0u);
        EXPECT_EQ(report.shortfalls.size(), 1u);
        continue;
      }
      EXPECT_TRUE(report.shortfalls.empty());
      ASSERT_EQ(report.failures.size(), 1u);
      EXPECT_TRUE(report.failures[0].path.starts_with("folder/"))
          << report.failures[0].path;
      EXPECT_EQ(report.failures[0].cause, FailureCause::io_error);
      EXPECT_TRUE(report.failures[0].what.starts_with("xattr user.note"))
          << report.failures[0].what;
      EXPECT_EQ(report.failure_count, 1u);
    }
  }
}

TEST_F(Restore, APathThatIsNotThereMakesNoTarget) {
  const auto snapshot = write({{"file", bytes_of("content")}});

  EXPECT_THROW(restore(snapshot, {.path = "file/more", .target = target}),
               repo::NotFound);
  EXPECT_THROW(restore(snapshot, {.path = "other", .target = target}),
               repo::NotFound);

  EXPECT_FALSE(fs::exists(target));
}

TEST_F(Restore, RefusesATargetThatIsNotEmpty) {
  const auto snapshot = write({{"file", bytes_of("content")}});
  fs::create_directory(target);
  write_file(target / "mine", "precious");

  EXPECT_THROW(restore(snapshot, {.target = target}), repo::RefusedForSafety);

  EXPECT_EQ(files_in(target), (Files{{"mine", bytes_of("precious")}}));
}

TEST_F(Restore, NeverOverwritesWhatExists) {
  const auto snapshot = write({{"a/file", bytes_of("new")},
                               {"a/missing", bytes_of("restored")},
                               {"b/file", bytes_of("new")}});
  fs::create_directories(target / "a");
  write_file(target / "a/file", "old");
  write_file(target / "b", "no folder");

  const auto report =
      restore(snapshot, {.target = target, .overwrite = Overwrite::never});

  EXPECT_EQ(files_in(target), (Files{{"a/file", bytes_of("old")},
                                     {"a/missing", bytes_of("restored")},
                                     {"b", bytes_of("no folder")}}));
  EXPECT_EQ(report.files, 1u);
  EXPECT_EQ(report.kept, 2u);
  EXPECT_EQ(report.failure_count, 0u);
}

TEST_F(Restore, OverwritesWhenAskedAndLeavesTheRestAlone) {
  const auto snapshot = write({{"file", bytes_of("new")}});
  fs::create_directories(target);
  write_file(target / "file", "something longer");
  write_file(target / "mine", "precious");

  restore(snapshot, {.target = target, .overwrite = Overwrite::always});

  EXPECT_EQ(files_in(target),
            (Files{{"file", bytes_of("new")}, {"mine", bytes_of("precious")}}));
}

TEST_F(Restore, RewritesOnlyTheChunksThatDiffer) {
  const Bytes content = random_bytes(random, 20 * 4096);
  const auto snapshot = write({{"file", content}});
  fs::create_directories(target);
  Bytes changed = content;
  changed[5 * 4096 + 17] ^= std::byte{1};
  changed.resize(changed.size() + 1000);
  write_file(target / "file", text_of(changed));

  const auto report =
      restore(snapshot, {.target = target, .overwrite = Overwrite::if_changed});

  EXPECT_EQ(files_in(target), (Files{{"file", content}}));
  EXPECT_EQ(report.bytes_written, 4096u);
  EXPECT_EQ(report.bytes_unchanged, 19u * 4096);
}

TEST_F(Restore, ReplacesAFileWithSeveralNamesOnlyWhenItDiffers) {
  const fs::path source = folder / "source";
  fs::create_directories(source / "deep");
  write_file(source / "one", text_of(random_bytes(random, 300'000)));
  fs::create_hard_link(source / "one", source / "deep/same");
  const auto before = look_at_tree(source);
  const auto snapshot = back_up(source);
  const RestoreOptions options{.path = source.native(),
                               .target = target,
                               .overwrite = Overwrite::if_changed};
  restore(snapshot, options);
  const auto inode = [&](const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(lstat(path.c_str(), &status), 0);
    return std::pair(status.st_ino, status.st_ctim.tv_nsec);
  };
  const auto restored = inode(target / "one");

  const auto again = restore(snapshot, options);

  EXPECT_EQ(again.bytes_written, 0u);
  EXPECT_EQ(again.bytes_unchanged, 300'000u);
  EXPECT_EQ(again.files, 1u);
  EXPECT_EQ(again.hard_links, 1u);
  EXPECT_EQ(inode(target / "one"), restored);
  EXPECT_EQ(look_at_tree(target), before);

  // Another name of it outside the target must not change with it.
  fs::create_hard_link(target / "one", folder / "outside");
  for (const bool is_content : {true, false}) {
    const auto times = fs::last_write_time(target / "one");
    if (is_content) {
      std::fstream out(target / "one", std::ios::in | std::ios::out);
      out << "changed";
    } else {
      fs::permissions(target / "one", fs::perms(0600));
    }
    fs::last_write_time(target / "one", times);
    const auto third = restore(snapshot, options);
    EXPECT_EQ(third.bytes_written, 300'000u);
    EXPECT_EQ(look_at_tree(target), before);
    EXPECT_NE(inode(target / "one").first, inode(folder / "outside").first);
    fs::remove(folder / "outside");
    fs::create_hard_link(target / "one", folder / "outside");
  }
}

// What is one file in the target and several in the snapshot, all alike.
TEST_F(Restore, TakesFilesApartThatAreLinkedInTheTargetOnly) {
  const fs::path source = folder / "source";
  fs::create_directories(source);
  for (const char* const name : {"a", "b", "one", "other"}) {
    write_file(source / name, "the same");
    fs::last_write_time(source / name,
                        fs::file_time_type(std::chrono::seconds(1)));
  }
  fs::create_hard_link(source / "one", source / "one too");
  fs::create_hard_link(source / "other", source / "other too");
  const auto before = look_at_tree(source);
  const auto snapshot = back_up(source);
  const RestoreOptions options{.path = source.native(),
                               .target = target,
                               .overwrite = Overwrite::if_changed};
  restore(snapshot, options);
  for (const char* const name : {"b", "one", "one too", "other", "other too"}) {
    fs::remove(target / name);
    fs::create_hard_link(target / "a", target / name);
  }

  restore(snapshot, options);

  EXPECT_EQ(look_at_tree(target), before);
  EXPECT_TRUE(fs::equivalent(target / "one", target / "one too"));
  EXPECT_TRUE(fs::equivalent(target / "other", target / "other too"));
  EXPECT_FALSE(fs::equivalent(target / "a", target / "b"));
  EXPECT_FALSE(fs::equivalent(target / "one", target / "other"));
}

TEST_F(Restore, ReadsNothingFromTheRepositoryForFilesThatAreThere) {
  const Bytes content = random_bytes(random, 20 * 4096);
  const auto snapshot = write({{"file", content}});
  restore(snapshot, {.target = target});
  for (const auto& pack : repo::list_packs(stored.disk())) {
    if (pack.id ==
        repository.index()
            .pack(place_of({content.begin(), content.begin() + 4096}).pack)
            .id) {
      stored.disk().remove(repo::pack_name(pack.id));
    }
  }

  const auto report =
      restore(snapshot, {.target = target, .overwrite = Overwrite::if_changed});

  EXPECT_EQ(report.failure_count, 0u);
  EXPECT_EQ(report.bytes_unchanged, content.size());
}

TEST_F(Restore, SkipsOnlyTheFilesWhoseContentIsDamaged) {
  Files files;
  for (int i = 0; i < 30; ++i) {
    files["folder/" + std::to_string(i)] = random_bytes(random, 10'000);
  }
  const auto snapshot = write(files);
  for (const char* const name : {"folder/7", "folder/21"}) {
    const Bytes& content = files.at(name);
    damage(place_of({content.begin() + 4096, content.begin() + 8192}));
    files.erase(name);
  }

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(files_in(target), files);
  ASSERT_EQ(report.failures.size(), 2u);
  EXPECT_EQ(report.failures[0].path, "folder/21");
  EXPECT_EQ(report.failures[1].path, "folder/7");
  EXPECT_EQ(report.failures[0].cause, FailureCause::damaged);
  EXPECT_EQ(report.damage_count, 2u);
  EXPECT_EQ(report.files, 28u);
}

TEST_F(Restore, KeepsTheOldFileWhereTheNewOneIsDamaged) {
  const Bytes content = random_bytes(random, 20'000);
  const auto snapshot = write({{"file", content}});
  damage(place_of({content.begin() + 16384, content.end()}));
  Bytes old = content;
  old[5000] ^= std::byte{1};  // in a chunk that is whole
  old[17000] ^= std::byte{1};
  fs::create_directory(target);
  write_file(target / "file", text_of(old));

  for (const Overwrite mode : {Overwrite::always, Overwrite::if_changed}) {
    const auto report =
        restore(snapshot, {.target = target, .overwrite = mode});

    EXPECT_EQ(report.damage_count, 1u);
    EXPECT_EQ(files_in(target), (Files{{"file", old}}));
  }
}

TEST_F(Restore, CarriesOverWhatAnOldFileOfManyBatchesHas) {
  const Bytes content = random_bytes(random, 5'000'000);
  const auto snapshot = write({{"file", content}});
  fs::create_directory(target);
  for (const std::size_t at :
       {std::size_t{0}, content.size() / 2, content.size() - 1}) {
    Bytes old = content;
    old[at] ^= std::byte{1};
    write_file(target / "file", text_of(old));

    const auto report = restore(
        snapshot, {.target = target, .overwrite = Overwrite::if_changed});

    EXPECT_EQ(report.failure_count, 0u);
    EXPECT_LE(report.bytes_written, 4096u);
    EXPECT_EQ(report.bytes_written + report.bytes_unchanged, content.size());
    EXPECT_TRUE(files_in(target) == (Files{{"file", content}})) << at;
  }
}

TEST_F(Restore, ReportsEachNameOfADamagedFile) {
  StateWriter writer(repository);
  const Bytes content = random_bytes(random, 5000);
  const Link chunk = writer.chunk(content);
  Entry entry = entry_named("first", EntryType::file, content.size());
  entry.hard_link = repo::HardLink{1, 2};
  writer.add(entry, std::span(&chunk, 1));
  entry.name = "second";
  writer.add(entry, std::span(&chunk, 1));
  const auto snapshot = commit(writer);
  damage(place_of(content));

  const auto report = restore(snapshot, {.target = target});

  ASSERT_EQ(report.failures.size(), 2u);
  EXPECT_EQ(report.failures[0].path, "first");
  EXPECT_EQ(report.failures[1].path, "second");
  EXPECT_TRUE(files_in(target).empty());
}

// The ids decide how many levels of lists are above them.
std::vector<repo::BlobId> entry_nodes_below(repo::BlobReader& blobs,
                                            const repo::BlobId& id) {
  const auto rows =
      repo::decode_links(*blobs.read(repo::BlobKind::links, id), "a node");
  if (rows.front().kind == repo::BlobKind::names) return {id};
  std::vector<repo::BlobId> nodes;
  for (const Link& row : rows) {
    const auto below = entry_nodes_below(blobs, row.id);
    nodes.insert(nodes.end(), below.begin(), below.end());
  }
  return nodes;
}

TEST_F(Restore, ADamagedNodeCostsOnlyItsOwnEntries) {
  Files files;
  for (int i = 0; i < 3000; ++i) {
    files["many/" + std::to_string(10'000 + i)] = bytes_of("x");
  }
  files["more/file"] = bytes_of("y");
  const auto snapshot = write(files);
  auto blobs = repository.blobs();
  const auto many = repo::TreeReader(blobs).find(
      {repo::BlobKind::links, snapshot, 0}, "many");
  const auto nodes = entry_nodes_below(blobs, many->rows.front().id);
  ASSERT_GT(nodes.size(), 3u);
  damage(repository.index().find(nodes[1]).at(0));

  const auto report = restore(snapshot, {.target = target});

  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].path, "many");
  EXPECT_GE(report.files, 3001u - 512u);
  EXPECT_LT(report.files, 3001u);
  EXPECT_EQ(read_file(target / "more/file"), "y");
  EXPECT_EQ(read_file(target / "many/10000"), "x");
  EXPECT_EQ(read_file(target / "many/12999"), "x");
}

TEST_F(Restore, FindsWhatAPruneMovedMeanwhile) {
  const Files files{{"a", random_bytes(random, 10'000)},
                    {"b", random_bytes(random, 10'000)}};
  const auto snapshot = write(files);
  auto reader = stored.open();
  (void)reader.index();  // as it is now
  const auto old_packs = repo::list_packs(stored.disk());
  const auto old_indexes = repo::list_indexes(stored.disk());
  {
    StateWriter mover(repository, {.reuse = testing_support::Reuse::nothing});
    testing_support::write_files(mover, files);
    mover.publish_index();
  }
  for (const auto& id : old_indexes) {
    stored.disk().remove(repo::index_name(id));
  }
  for (const auto& pack : old_packs) {
    stored.disk().remove(repo::pack_name(pack.id));
  }

  const auto report =
      ingest::restore(reader, snapshot, {.target = target}, progress, {});

  EXPECT_EQ(files_in(target), files);
  EXPECT_EQ(report.failure_count, 0u);
}

TEST_F(Restore, APackThatIsGoneIsDamageOfTheFilesInIt) {
  const Bytes gone = random_bytes(random, 10'000);
  StateWriter writer(repository);
  const Bytes kept = bytes_of("kept");
  const Link kept_chunk = writer.chunk(kept);
  writer.end_packs();
  const Link gone_chunk = writer.chunk(gone);
  writer.add(entry_named("gone", EntryType::file, gone.size()),
             std::span(&gone_chunk, 1));
  writer.add(entry_named("kept", EntryType::file, kept.size()),
             std::span(&kept_chunk, 1));
  const auto snapshot = commit(writer);
  const auto pack = repository.index().pack(place_of(gone).pack);
  stored.disk().remove(repo::pack_name(pack.id));

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(files_in(target), (Files{{"kept", kept}}));
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].cause, FailureCause::damaged);
}

// A root of one entry node, made by hand.
repo::BlobId store_root(StateWriter& writer, const Bytes& names,
                        const Link& chunk) {
  const Link rows[] = {
      {repo::BlobKind::names, writer.store_node(repo::BlobKind::names, names),
       names.size()},
      chunk};
  const auto root =
      writer.store_node(repo::BlobKind::links, repo::encode_links(rows));
  writer.publish_index();
  return root;
}

// As no writer of ours stores it.
TEST_F(Restore, ContentOfAnotherSizeThanTheEntrysIsDamage) {
  StateWriter writer(repository);
  const Link chunk = writer.chunk(bytes_of("ten bytes!"));
  const repo::NodeEntry node{entry_named("file", EntryType::file, 11), 1};
  const Bytes names = repo::encode_names(std::span(&node, 1));
  const auto snapshot = store_root(writer, names, chunk);

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(report.damage_count, 1u);
  EXPECT_TRUE(files_in(target).empty());
}

// Names that lead elsewhere, as only a hostile writer stores them.
TEST_F(Restore, RefusesANodeWithANameThatLeadsElsewhere) {
  for (const std::string_view name : {"..", "/x", "a/", ".\0"}) {
    SCOPED_TRACE(std::string(name));
    StateWriter writer(repository);
    const Bytes content = bytes_of("escaped");
    const Link chunk = writer.chunk(content);
    const repo::NodeEntry node{
        entry_named("QZ", EntryType::file, content.size()), 1};
    Bytes names = repo::encode_names(std::span(&node, 1));
    const auto at = std::ranges::search(names, bytes_of("QZ"));
    ASSERT_FALSE(at.empty());
    std::string two(name);
    two.resize(2);
    std::ranges::copy(bytes_of(two), at.begin());
    const auto snapshot = store_root(writer, names, chunk);
    fs::remove_all(target);

    const auto report = restore(snapshot, {.target = target});

    EXPECT_EQ(report.damage_count, 1u);
    EXPECT_TRUE(files_in(folder.path()).empty());
  }
}

TEST_F(Restore, GoesDownNoFurtherThanAPathMayBeLong) {
  constexpr std::size_t kAllowed = 4096;
  StateWriter writer(repository);
  for (std::size_t i = 0; i < kAllowed + 3; ++i) {
    writer.begin_folder("d");
    if (i + 2 == kAllowed) writer.add_file("at the bottom", {});
  }
  for (std::size_t i = 0; i < kAllowed + 3; ++i) writer.end_folder();
  writer.add_file("z", {});
  const auto snapshot = commit(writer);

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(report.folders, kAllowed);
  EXPECT_EQ(report.files, 2u);
  EXPECT_EQ(report.damage_count, 1u);
  EXPECT_TRUE(fs::exists(target / "z"));
}

TEST_F(Restore, DoesTheSameWithManyWorkers) {
  Files files;
  for (int i = 0; i < 400; ++i) {
    files[std::to_string(i % 7) + "/" + std::to_string(i)] =
        random_bytes(random, random() % 30'000);
  }
  files["large"] = random_bytes(random, 4 << 20);
  const auto snapshot = write(files);

  for (const unsigned workers : {1u, 8u}) {
    fs::remove_all(target);
    const auto report = restore(
        snapshot,
        {.target = target, .read_back = ReadBack::yes, .workers = workers});

    EXPECT_EQ(report.files, files.size());
    EXPECT_EQ(files_in(target), files);
  }
}

TEST_F(Restore, KeepsHardLinksOfFilesThatAreStillBeingWritten) {
  StateWriter writer(repository);
  constexpr std::size_t kNames = 300;
  for (std::size_t i = 0; i < kNames; ++i) {
    const Bytes content = random_bytes(random, 3000);
    const Link chunk = writer.chunk(content);
    Entry entry =
        entry_named(std::to_string(1000 + i), EntryType::file, content.size());
    entry.hard_link = repo::HardLink{1, i};
    writer.add(entry, std::span(&chunk, 1));
    entry.name += " too";
    writer.add(entry, std::span(&chunk, 1));
  }
  const auto snapshot = commit(writer);

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(report.files, kNames);
  EXPECT_EQ(report.hard_links, kNames);
  EXPECT_EQ(look_at(target / "1000"), look_at(target / "1000 too"));
  EXPECT_EQ(look_at(target / "1299").names, 2u);
}

// Forty levels of folders with two equal children would be 2^40 entries.
TEST_F(Restore, StopsAtATreeThatHoldsMoreThanItsSnapshotSays) {
  const Files files = {{"a/file", bytes_of("four")},
                       {"b/file", bytes_of("more")}};
  const auto snapshot = write(files);

  EXPECT_NO_THROW((void)restore(snapshot, {.target = target, .bound = {4, 8}}));
  fs::remove_all(target);
  EXPECT_THROW((void)restore(snapshot, {.target = target, .bound = {3, 8}}),
               repo::CorruptionError);
  fs::remove_all(target);
  EXPECT_THROW((void)restore(snapshot, {.target = target, .bound = {4, 7}}),
               repo::CorruptionError);
}

// The system gave the number of a file that was removed during the backup to
// another one; or somebody forged it.
TEST_F(Restore, ANumberOfAHardLinkThatCameToAnotherFileLinksNothing) {
  const Bytes content = random_bytes(random, 3000);
  const Bytes other = random_bytes(random, 3000);
  StateWriter writer(repository);
  const Link chunk = writer.chunk(content);
  const Link other_chunk = writer.chunk(other);
  Entry entry = entry_named("a", EntryType::file, content.size());
  entry.hard_link = repo::HardLink{1, 2};
  writer.add(entry, std::span(&chunk, 1));
  entry.name = "b: the same";
  writer.add(entry, std::span(&chunk, 1));
  entry.name = "c: another content";
  writer.add(entry, std::span(&other_chunk, 1));
  entry.name = "d: another time";
  ++entry.modified.seconds;
  writer.add(entry, std::span(&chunk, 1));
  Entry symlink = entry_named("e: another type", EntryType::symlink, 0);
  symlink.symlink_target = "where to";
  symlink.hard_link = entry.hard_link;
  writer.add(symlink);
  symlink.name = "f: another target";
  symlink.symlink_target = "elsewhere";
  writer.add(symlink);
  const auto snapshot = commit(writer);

  const auto report = restore(snapshot, {.target = target});

  EXPECT_EQ(report.hard_links, 1u);
  EXPECT_EQ(look_at(target / "a").names, 2u);
  EXPECT_EQ(files_in(target).at("c: another content"), other);
  EXPECT_EQ(look_at(target / "d: another time").names, 1u);
  EXPECT_EQ(fs::read_symlink(target / "e: another type"), "where to");
  EXPECT_EQ(fs::read_symlink(target / "f: another target"), "elsewhere");
}

// Asks for a stop at the nth read of a pack.
class StoppingStorage : public testing_support::MemoryStorage {
 public:
  StoppingStorage(const MemoryStorage& disk, std::stop_source stop,
                  std::size_t nth)
      : MemoryStorage(disk), stop_(std::move(stop)), left_(nth) {}

  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    if (name.starts_with("packs/") && --left_ == 0) stop_.request_stop();
    MemoryStorage::get(name, offset, out);
  }

 private:
  mutable std::stop_source stop_;
  mutable std::atomic<std::size_t> left_;
};

TEST_F(Restore, LeavesNoUnfinishedFileWheneverItIsStopped) {
  Files files;
  for (int i = 0; i < 25; ++i) {
    files[std::to_string(i)] = random_bytes(random, 9000);
  }
  const auto snapshot = write(files);
  for (std::size_t nth = 1;; nth += 3) {
    SCOPED_TRACE("stopped at read " + std::to_string(nth));
    fs::remove_all(target);
    fs::create_directory(target);
    for (const char* const name : {"3", "17"}) {
      write_file(target / name, "old");
    }
    std::stop_source stop;
    auto opened = stored.open_through(
        std::make_unique<StoppingStorage>(stored.disk(), stop, nth));

    bool finished = true;
    try {
      (void)ingest::restore(opened, snapshot,
                            {.target = target, .overwrite = Overwrite::always},
                            progress, stop.get_token());
    } catch (const repo::Cancelled&) {
      finished = false;
    }

    for (const auto& [name, content] : files_in(target)) {
      ASSERT_TRUE(files.contains(name)) << name;
      if (content != bytes_of("old")) {
        EXPECT_EQ(content, files.at(name));
      }
    }
    if (finished) {
      EXPECT_EQ(files_in(target), files);
      return;
    }
  }
}

// Cannot be reached any more after so many reads of packs.
class VanishingStorage : public testing_support::MemoryStorage {
 public:
  VanishingStorage(const MemoryStorage& disk, int reads)
      : MemoryStorage(disk), left_(reads) {}

  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    if (name.starts_with("packs/") && left_-- <= 0) {
      throw repo::StorageUnreachable("the mount is gone");
    }
    MemoryStorage::get(name, offset, out);
  }

 private:
  mutable std::atomic<int> left_;
};

TEST_F(Restore, EndsWhenTheStorageIsGone) {
  Files files;
  for (int i = 0; i < 25; ++i) {
    files[std::to_string(i)] = random_bytes(random, 9000);
  }
  const auto snapshot = write(files);
  auto opened = stored.open_through(
      std::make_unique<VanishingStorage>(stored.disk(), 20));

  EXPECT_THROW(
      (void)ingest::restore(opened, snapshot, {.target = target}, progress, {}),
      repo::StorageUnreachable);

  for (const auto& [name, content] : files_in(target)) {
    EXPECT_EQ(content, files.at(name));
  }
}

TEST_F(Restore, DamageThatWasMetIsGraverThanAStorageThatIsGone) {
  Files files;
  for (int i = 0; i < 25; ++i) {
    files[std::to_string(i)] = random_bytes(random, 9000);
  }
  const auto snapshot = write(files);
  const Bytes& first = files.at("0");
  damage(place_of({first.begin(), first.begin() + 4096}));
  auto opened = stored.open_through(
      std::make_unique<VanishingStorage>(stored.disk(), 40));

  EXPECT_THROW(
      (void)ingest::restore(opened, snapshot, {.target = target, .workers = 1},
                            progress, {}),
      repo::CorruptionError);
}

TEST_F(Restore, FollowsDifferencesToTheirBases) {
  testing_support::ChunksByPath bases;
  Bytes content = random_bytes(random, 64 * 4096);
  repo::BlobId snapshot;
  for (int state = 0; state < 12; ++state) {
    for (int change = 0; change < 40; ++change) {
      content[random() % content.size()] = static_cast<std::byte>(random());
    }
    snapshot = write({{"file", content}}, {.bases = &bases});
  }

  restore(snapshot, {.target = target, .read_back = ReadBack::yes});

  EXPECT_EQ(files_in(target), (Files{{"file", content}}));
}

}  // namespace
}  // namespace cairn::ingest
