// What a backup stores is what was there, whatever ran how often beside it.
#include "ingest/backup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "repo/error.h"
#include "tests/support/backup_site.h"
#include "tests/support/for_each_seed.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

void write_file(const fs::path& path, const Bytes& content) {
  testing_support::write_file(path, text_of(content));
}

// Data and holes in turn, at places that fit no block.
void plant_sparse_file(const fs::path& path, std::mt19937_64& random) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_GE(fd, 0);
  std::uint64_t end = 0;
  for (int i = 0; i < 5; ++i) {
    end += random() % (1U << 20);
    const Bytes data = random_bytes(random, random() % 20'000);
    ASSERT_EQ(::pwrite(fd, data.data(), data.size(), static_cast<off_t>(end)),
              static_cast<ssize_t>(data.size()));
    end += data.size();
  }
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(end + random() % 100'000)), 0);
  ::close(fd);
}

// The beginning of a PostgreSQL heap file, which is cut by pages.
Bytes heap_file(std::mt19937_64& random, std::size_t pages) {
  constexpr std::size_t kPage = 8192;
  Bytes file = random_bytes(random, pages * kPage);
  const std::array<unsigned char, 8> header = {24, 0, 0, 16, 0, 32, 4, 32};
  std::ranges::transform(header, file.begin() + 12,
                         [](unsigned char c) { return std::byte{c}; });
  return file;
}

// Of everything a folder can hold a little.
void plant_tree(const fs::path& top, std::mt19937_64& random) {
  const auto content = [&](std::size_t size) {
    return random_bytes(random, size);
  };
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{kSmallMin - 1},
        std::size_t{kSmallMin}, std::size_t{kSmallMax},
        std::size_t{kSmallMax + 1}, std::size_t{8 * kSmallMax},
        random() % 300'000, random() % 4'000'000}) {
    write_file(top / ("size " + std::to_string(size)), content(size));
  }
  write_file(top / "zeros", Bytes(200'000));
  write_file(top / "heap", heap_file(random, 1 + random() % 40));
  testing_support::write_file(top / "sqlite",
                              std::string("SQLite format 3\0", 16) +
                                  text_of(content(random() % 200'000)));
  plant_sparse_file(top / "sparse", random);
  for (const char* name :
       {"\xff\xfe", "line\nbreak", "back\\slash", "\"quoted'", " ", "...", "-n",
        "\x01\x7f", "\xc3\xa4\xe2\x82\xac", "a*?[b]"}) {
    write_file(top / name, content(random() % 100));
    fs::create_symlink(name, top / (std::string(name) + ".link"));
  }
  write_file(top / std::string(255, 'n'), content(3));

  fs::path folder = top / "deep";
  for (int i = 0; i < 50; ++i) {
    fs::create_directory(folder);
    if (random() % 3 == 0) write_file(folder / "file", content(random() % 99));
    folder /= "d" + std::to_string(random() % 10);
  }
  fs::create_directory(top / "small");
  for (std::uint64_t i = random() % 700; i > 0; --i) {
    write_file(top / "small" / std::to_string(random()), content(random() % 9));
  }
  fs::create_directory(top / "empty");
  fs::create_hard_link(top / "zeros", top / "zeros too");
  ASSERT_EQ(::mkfifo((top / "fifo").c_str(), 0640), 0);
  ASSERT_EQ(::chmod((top / "heap").c_str(), 04755), 0);
  // Not every file system knows them.
  (void)::setxattr((top / "heap").c_str(), "user.note", "\0x", 2, 0);
}

// What a restore has to bring back: everything the system says of the folder.
void expect_stored(const StoredTree& stored, const fs::path& top) {
  const std::string prefix = top.string().substr(1) + "/";
  std::set<std::string> expected;
  for (const auto& item : fs::recursive_directory_iterator(top)) {
    const std::string path = item.path().string().substr(1);
    expected.insert(path);
    const auto found = stored.find(path);
    ASSERT_NE(found, stored.end()) << path;
    auto entry = found->second.entry;
    const auto there = describe(item.path());
    entry.profile = there.profile;  // the file system does not know
    EXPECT_TRUE(entry == there) << path;
    if (item.is_regular_file() && !item.is_symlink()) {
      EXPECT_TRUE(text_of(found->second.content) == read_file(item.path()))
          << path;
    }
  }
  for (const auto& [path, entry] : stored) {
    EXPECT_TRUE(!path.starts_with(prefix) || expected.contains(path)) << path;
  }
}

TEST(Backup, StoresATreeAsItIs) {
  for_each_seed(4, [](auto& random) {
    TempFolder folder;
    plant_tree(folder.path(), random);
    BackupSite site;

    const auto report = run_backup(site, source_of(folder.path()));

    EXPECT_TRUE(report.is_complete);
    EXPECT_EQ(report.problem_count, 0u);
    expect_stored(read_all_snapshots(site).at(0).tree, folder.path());
  });
}

TEST(Backup, StoresEveryLaterStateAsItIsToo) {
  for_each_seed(3, [](auto& random) {
    TempFolder folder;
    plant_tree(folder.path(), random);
    BackupSite site;
    (void)run_backup(site, source_of(folder.path()));
    for (int state = 0; state < 4; ++state) {
      for (const auto& item : fs::recursive_directory_iterator(folder.path())) {
        if (!item.is_regular_file() || item.is_symlink()) continue;
        const auto dice = random() % 4;
        if (dice == 0) {
          fs::resize_file(item.path(), item.file_size() / 2);
        } else if (dice == 1) {
          std::ofstream(item.path(), std::ios::app)
              << text_of(random_bytes(random, random() % 5000));
        } else if (dice == 2 && item.file_size() > 0) {
          std::fstream file(item.path(), std::ios::in | std::ios::out);
          file.seekp(static_cast<std::streamoff>(random() % item.file_size()));
          file << "changed";
        }
      }

      const auto report = run_backup(site, source_of(folder.path()));

      EXPECT_TRUE(report.is_complete);
      expect_stored(read_newest(site), folder.path());
    }
    EXPECT_EQ(read_all_snapshots(site).size(), 5u);
  });
}

TEST(Backup, CutsFilesThatAreWrittenPageByPageAtFixedPlaces) {
  std::mt19937_64 random(2);
  TempFolder folder;
  write_file(folder / "heap", heap_file(random, 20));
  write_file(folder / "text", random_bytes(random, 20 * 8192));
  BackupSite site;

  (void)run_backup(site, source_of(folder.path()));

  const auto tree = read_newest(site);
  const auto top = folder.path().string().substr(1);
  EXPECT_EQ(tree.at(top + "/text").entry.profile, repo::Profile::cdc);
  const auto& heap = tree.at(top + "/heap");
  EXPECT_EQ(heap.entry.profile, repo::Profile::page);
  for (const auto& chunk : heap.chunks) EXPECT_EQ(chunk.length, kSmallPage);
}

TEST(Backup, StoresAFolderOfAThousandEntries) {
  TempFolder folder;
  for (int i = 0; i < 1000; ++i) {
    testing_support::write_file(folder / ("entry " + std::to_string(i)),
                                std::to_string(i));
  }
  BackupSite site;

  const auto report = run_backup(site, source_of(folder.path()));

  EXPECT_EQ(report.files_new, 1000u);
  expect_stored(read_all_snapshots(site).at(0).tree, folder.path());
}

TEST(Backup, StoresAStreamWhateverItsSize) {
  std::mt19937_64 random(1);
  BackupSite site;
  auto repository = site.open();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{kSmallMin - 1},
        std::size_t{kSmallMin}, std::size_t{kSmallMax},
        std::size_t{kSmallMax + 1}, std::size_t{5'000'000}}) {
    SCOPED_TRACE(size);
    const Bytes content = random_bytes(random, size);

    const auto report =
        run_backup(repository, sources(source_of("dir/stream", content)));

    EXPECT_EQ(report.bytes_read, size);
    const auto tree = read_newest(site);
    EXPECT_EQ(tree.size(), 2u);
    EXPECT_EQ(tree.at("dir").entry.type, repo::EntryType::folder);
    EXPECT_EQ(tree.at("dir/stream").entry.type, repo::EntryType::stream);
    EXPECT_TRUE(tree.at("dir/stream").content == content);
  }
}

TEST(Backup, StoresSeveralSourcesInOneSnapshot) {
  TempFolder folder;
  testing_support::write_file(folder / "file", "of a file");
  BackupSite site;
  auto repository = site.open();

  const auto report = run_backup(
      repository,
      sources(source_of(folder.path()), source_of("s", bytes_of("stream"))));

  EXPECT_TRUE(report.is_complete);
  ASSERT_EQ(report.sources.size(), 2u);
  EXPECT_EQ(report.sources[0].bytes, 9u);
  EXPECT_EQ(report.sources[1].bytes, 6u);
  const auto tree = read_newest(site);
  expect_stored(tree, folder.path());
  EXPECT_EQ(text_of(tree.at("s").content), "stream");
}

TEST(Backup, MergesSourcesWhereTheirFoldersAgree) {
  TempFolder folder;
  fs::create_directory(folder / "sub");
  testing_support::write_file(folder / "sub/file", "of a file");
  fs::permissions(folder.path(), fs::perms(0751));
  BackupSite site;
  auto repository = site.open();
  const std::string top = folder.path().string();

  for (const bool files_first : {true, false}) {
    std::vector<Source> several;
    if (files_first) several.push_back(source_of(folder / "sub"));
    several.push_back(source_of(top + "/db/b", bytes_of("b")));
    several.push_back(source_of("db/x/last", bytes_of("x")));
    several.push_back(source_of(top + "/db/a", bytes_of("a")));
    several.push_back(source_of("db/first", bytes_of("first")));
    if (!files_first) several.push_back(source_of(folder / "sub"));
    std::vector<std::string> names{top + "/db/b", "db/x/last", top + "/db/a",
                                   "db/first"};
    names.insert(files_first ? names.begin() : names.end(), "files");
    const auto report = run_backup(repository, std::move(several));

    EXPECT_TRUE(report.is_complete);
    const auto tree = read_newest(site);
    const std::string in_tree = top.substr(1);
    EXPECT_EQ(text_of(tree.at("db/first").content), "first");
    EXPECT_EQ(text_of(tree.at("db/x/last").content), "x");
    EXPECT_EQ(text_of(tree.at(in_tree + "/db/a").content), "a");
    EXPECT_EQ(text_of(tree.at(in_tree + "/db/b").content), "b");
    EXPECT_EQ(text_of(tree.at(in_tree + "/sub/file").content), "of a file");
    EXPECT_EQ(tree.at(in_tree).entry.mode, 0751U);
    EXPECT_EQ(tree.at(in_tree + "/db").entry.mode, 0700U);
    ASSERT_EQ(report.sources.size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(report.sources[i].name, names[i]);
    }
    const auto snapshots = read_all_snapshots(site);
    EXPECT_EQ(snapshots.back().snapshot.header.entries, tree.size());
  }
}

TEST(Backup, RefusesSourcesThatAreInEachOthersWayBeforeItReads) {
  TempFolder folder;
  testing_support::write_file(folder / "file", "of a file");
  BackupSite site;
  auto repository = site.open();
  const std::string top = folder.path().string();
  const std::vector<std::pair<std::string, std::string>> clashes{
      {"db/a", "db/a"},   {"db/a", "/db/a"},  {"db", "db/a"},
      {"db/a/b", "db/a"}, {top + "/new", ""}, {top, ""}};
  for (const auto& [first, second] : clashes) {
    SCOPED_TRACE(first + " " + second);
    const auto source = [&](const std::string& name) {
      if (name.empty()) return source_of(folder.path());
      auto stream = std::make_unique<MemoryStream>(bytes_of("x"));
      stream->before_read = [](std::uint64_t) { FAIL() << "was read"; };
      return source_of(name, std::move(stream));
    };
    EXPECT_THROW(
        (void)run_backup(repository, sources(source(first), source(second))),
        std::invalid_argument);
  }
  EXPECT_TRUE(read_all_snapshots(site).empty());
  EXPECT_EQ(testing_support::sessions_in(site), 0U);
}

TEST(Backup, LeavesNothingOfAStreamThatFails) {
  BackupSite site;
  auto repository = site.open();

  const auto report = run_backup(
      repository, sources(source_of("db/x/failed", run_command({"false"}),
                                    repo::SourceKind::command),
                          source_of("db/y", bytes_of("y"))));

  EXPECT_FALSE(report.is_complete);
  const auto tree = read_newest(site);
  EXPECT_EQ(tree.size(), 2U);
  EXPECT_EQ(text_of(tree.at("db/y").content), "y");
}

TEST(Backup, NotesWhatMayNotBeMeant) {
  TempFolder folder;
  fs::create_directory(folder / "repository");
  testing_support::write_file(folder / "repository/config", "x");
  struct stat status {};
  ASSERT_EQ(::stat((folder / "repository").c_str(), &status), 0);
  const auto files = [&](const fs::path& path) {
    FilesToBackUp source{{path.string()}, {}};
    source.options.left_out = {{status.st_dev, status.st_ino}};
    return Source(std::move(source));
  };
  BackupSite site;
  auto repository = site.open();

  const auto all = run_backup(
      repository, sources(files(folder.path()), source_of("s", bytes_of("x"))));
  const auto itself = run_backup(
      repository,
      sources(files(folder / "repository"), source_of("dir/empty", Bytes())));

  EXPECT_TRUE(all.notes.empty());
  ASSERT_EQ(itself.notes.size(), 2U);
  EXPECT_TRUE(itself.notes[0].starts_with((folder / "repository").string()));
  EXPECT_EQ(itself.notes[1], "dir/empty: standard input was empty");
  EXPECT_TRUE(itself.is_complete);
}

// The graph of the stream's snapshot, and of the folder's without its parents,
// which others touch.
std::pair<repo::BlobId, std::vector<repo::Link>> graphs_of(
    const fs::path& folder, const Bytes& content, unsigned workers,
    std::size_t bytes_per_read, BackupSite& site) {
  auto options = backup_options();
  options.now = {1'795'132'800, 5};
  options.workers = workers;
  auto repository = site.open();
  const auto stream = run_backup(
      repository, sources(source_of("stream", content, bytes_per_read)),
      options);
  const auto files =
      run_backup(repository, sources(source_of(folder)), options);
  auto blobs = repository.blobs();
  const repo::Link root{repo::BlobKind::links, root_of(site, files), 0};
  const auto top = repo::TreeReader(blobs).find(root, folder.string());
  return {root_of(site, stream), top->rows};
}

TEST(Backup, MakesTheSameGraphWhateverTheWorkersAndTheReads) {
  std::mt19937_64 random(7);
  TempFolder folder;
  plant_tree(folder.path(), random);
  const Bytes content = random_bytes(random, 6'000'000);
  BackupSite site;
  // From the same beginning each time, so that every run stores everything.
  const MemoryStorage empty = site.disk();

  const auto expected = graphs_of(folder.path(), content, 1, ~0ULL, site);

  for (const auto& [workers, bytes_per_read] :
       {std::pair{2U, 65'536ULL}, {8U, 4097ULL}, {8U, ~0ULL}, {1U, 1000ULL}}) {
    SCOPED_TRACE(workers);
    site.disk() = empty;
    site.lose_cache();
    EXPECT_TRUE(graphs_of(folder.path(), content, workers, bytes_per_read,
                          site) == expected);
  }
}

TEST(Backup, StoresNothingTwice) {
  std::mt19937_64 random(3);
  const Bytes content = random_bytes(random, 3'000'000);
  BackupSite site;
  (void)run_backup(site, source_of("stream", content));
  site.lose_cache();

  const auto again = run_backup(site, source_of("stream", content));

  EXPECT_EQ(again.chunks_new, 0u);
  EXPECT_EQ(again.bytes_new, 0u);
  // A new time, so a new names node and links node.
  EXPECT_LT(again.bytes_stored, 100'000u);
}

TEST(Backup, WritesDownWhoseBackupItIsAndOfWhat) {
  BackupSite site;
  auto repository = site.open();
  auto options = backup_options();
  options.tags = {"nightly"};
  options.time = repo::Timestamp{1000, 0};

  const auto report =
      run_backup(repository, sources(source_of("s", bytes_of("abc"))), options);

  const auto stored = read_all_snapshots(site);
  ASSERT_EQ(stored.size(), 1u);
  const auto& [id, header, record, signer, object] = stored[0].snapshot;
  EXPECT_EQ(id, report.snapshot);
  EXPECT_EQ(header.time, *options.time);
  EXPECT_GE(header.arrival, options.now);
  EXPECT_EQ(header.logical_bytes, 3u);
  EXPECT_EQ(header.stored_bytes, report.bytes_stored);
  EXPECT_EQ(header.entries, 1u);
  EXPECT_EQ(header.sequence, 0u);
  EXPECT_TRUE(header.is_complete);
  EXPECT_EQ(record->series, kSeries);
  EXPECT_EQ(record->tags, options.tags);
  EXPECT_EQ(record->paths, std::vector<std::string>{"s"});
  EXPECT_EQ(record->sources, report.sources);
}

TEST(Backup, ChainsTheSnapshotsOfASeries) {
  BackupSite site;
  for (int i = 0; i < 3; ++i) {
    (void)run_backup(site, source_of("s", bytes_of(std::to_string(i))));
  }

  const auto stored = read_all_snapshots(site);

  ASSERT_EQ(stored.size(), 3u);
  for (std::size_t i = 1; i < stored.size(); ++i) {
    const auto object = repo::get_whole(
        site.disk(), repo::snapshot_name(stored[i - 1].snapshot.id), 1U << 20);
    EXPECT_EQ(stored[i].snapshot.header.sequence, i);
    EXPECT_EQ(stored[i].snapshot.header.previous, crypto::sha256(object));
  }
}

TEST(Backup, BacksUpWithAWriteKey) {
  std::mt19937_64 random(5);
  Bytes content = random_bytes(random, 500'000);
  BackupSite site;
  for (int state = 0; state < 3; ++state) {
    content[1000] ^= std::byte{1};
    auto repository = site.open_as(repo::Role::write);

    const auto report =
        run_backup(repository, sources(source_of("s", content)));

    EXPECT_EQ(report.differences, 0u);
    EXPECT_TRUE(read_newest(site).at("s").content == content);
  }
}

TEST(Backup, LeavesNoSessionBehind) {
  BackupSite site;

  (void)run_backup(site, source_of("s", bytes_of("abc")));

  EXPECT_EQ(sessions_in(site), 0u);
}

}  // namespace
}  // namespace cairn::ingest
