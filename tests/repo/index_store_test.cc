#include "repo/index_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "repo/error.h"
#include "repo/own_folder.h"
#include "tests/support/bytes.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using namespace std::chrono_literals;
using testing_support::for_each_seed;
using testing_support::TempFolder;
namespace fs = std::filesystem;

using Map = std::map<std::string, std::string>;

Map contents(const IndexStore& store, std::string_view prefix = "") {
  Map map;
  store.for_each(prefix, [&](std::string_view key, std::string_view value) {
    map.emplace(key, value);
    return IndexStore::Next::go_on;
  });
  return map;
}

// The database that counts.
fs::path database_in(const fs::path& folder) {
  std::string name = testing_support::read_file(folder / "current");
  name.pop_back();
  return folder / name;
}

void put(IndexStore& store, const std::string& key, const std::string& value) {
  const auto written = store.write(
      10s, [&](IndexStore::Writer& writer) { writer.put(key, value); });
  ASSERT_EQ(written, IndexStore::Written::yes);
}

TEST(IndexStore, WhoeverWritesSweepsWhatReadersLeftThatAreGone) {
  TempFolder folder;
  const auto readers = [&] {
    std::set<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      if (entry.path().filename().string().starts_with("reader-")) {
        found.insert(entry.path());
      }
    }
    return found;
  };
  IndexStore store(folder.path());
  IndexStore other(folder.path());
  const auto alive = readers();
  EXPECT_EQ(alive.size(), 2u);
  fs::create_directory(folder / "reader-0123456789abcdef");
  testing_support::write_file(folder / "reader-0123456789abcdef/LOG", "x");

  put(store, "key", "value");

  EXPECT_EQ(readers(), alive);
  EXPECT_EQ(other.get("key"), std::nullopt);
}

// A check that was killed left its index, a program before the databases had
// names of their own its only one.
TEST(IndexStore, WhoeverWritesSweepsWhatCrashesAndOldProgramsLeft) {
  TempFolder folder;
  std::optional<IndexStore> other(folder.path());
  IndexStore store(folder.path());
  const OwnFolder running(folder.path(), kCheckPrefix);
  for (const char* const name : {"check-0123456789abcdef", "rocksdb"}) {
    fs::create_directory(folder / name);
    testing_support::write_file(folder / name / "LOG", "x");
  }

  put(store, "key", "value");

  EXPECT_FALSE(fs::exists(folder / "check-0123456789abcdef"));
  EXPECT_TRUE(fs::exists(running.path()));
  EXPECT_TRUE(fs::exists(folder / "rocksdb"));  // `other` may be an old program
  other.reset();
  put(store, "key", "another");
  EXPECT_FALSE(fs::exists(folder / "rocksdb"));
}

TEST(IndexStore, BehavesAsAMapUnderRandomChanges) {
  for_each_seed(3, [](auto& random) {
    TempFolder folder;
    IndexStore store(folder.path());
    Map expected;
    for (int round = 0; round < 4; ++round) {
      const auto written = store.write(10s, [&](IndexStore::Writer& writer) {
        for (int i = 0; i < 40; ++i) {
          const std::string key = "k" + std::to_string(random() % 30);
          if (random() % 3 == 0) {
            writer.remove(key);
            expected.erase(key);
            EXPECT_FALSE(writer.get(key));
          } else {
            expected[key] = std::to_string(random());
            writer.put(key, expected[key]);
            EXPECT_EQ(writer.get(key), expected[key]);
          }
        }
      });
      EXPECT_EQ(written, IndexStore::Written::yes);
      EXPECT_EQ(contents(store), expected);
    }
    const IndexStore again(folder.path());
    EXPECT_EQ(contents(again), expected);
    EXPECT_EQ(again.get("k99"), std::nullopt);
  });
}

TEST(IndexStore, AWalkStopsWhereItIsToldAndKeepsToItsPrefix) {
  TempFolder folder;
  IndexStore store(folder.path());
  for (const char* const key : {"a1", "b1", "b2", "b3", "c1"}) {
    put(store, key, "");
  }
  std::vector<std::string> seen;
  store.for_each("b", [&](std::string_view key, std::string_view) {
    seen.emplace_back(key);
    return seen.size() == 2 ? IndexStore::Next::stop : IndexStore::Next::go_on;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"b1", "b2"}));
  EXPECT_EQ(contents(store, "b").size(), 3U);
}

TEST(IndexStore, AChangeThatThrowsLeavesTheStoreUsable) {
  TempFolder folder;
  IndexStore store(folder.path());
  put(store, "a", "1");
  const auto fail = [&] {
    (void)store.write(10s, [](IndexStore::Writer& writer) {
      writer.put("b", "2");
      throw NotFound("on purpose");
    });
  };
  EXPECT_THROW(fail(), NotFound);
  put(store, "c", "3");
  EXPECT_EQ(store.get("a"), "1");
  EXPECT_EQ(store.get("c"), "3");
}

TEST(IndexStore, ADeletedDatabaseIsMadeAnew) {
  TempFolder folder;
  {
    IndexStore store(folder.path());
    put(store, "a", "1");
  }
  fs::remove_all(database_in(folder.path()));
  IndexStore store(folder.path());
  EXPECT_TRUE(contents(store).empty());
  put(store, "b", "2");
  EXPECT_EQ(store.get("b"), "2");
}

TEST(IndexStore, ADatabaseDeletedInUseIsMadeAnewByTheNextWrite) {
  TempFolder folder;
  IndexStore store(folder.path());
  put(store, "a", "1");
  fs::remove_all(database_in(folder.path()));
  put(store, "b", "2");
  EXPECT_EQ(contents(store), (Map{{"b", "2"}}));
}

TEST(IndexStore, SeesADatabaseThatAnotherProcessMadeAnew) {
  TempFolder folder;
  IndexStore store(folder.path());
  put(store, "a", "1");
  fs::remove_all(database_in(folder.path()));
  {
    IndexStore other(folder.path());
    put(other, "b", "2");
  }
  put(store, "c", "3");
  EXPECT_EQ(contents(store), (Map{{"b", "2"}, {"c", "3"}}));
}

// Every file of the database, one after another.
TEST(IndexStore, WhicheverFileIsDamagedTheStoreWorksAgainSoon) {
  TempFolder folder;
  {
    IndexStore store(folder / "whole");
    for (int i = 0; i < 2; ++i) {
      put(store, "key" + std::to_string(i), std::string(1000, 'x'));
    }
  }
  std::vector<fs::path> files;
  for (const auto& file :
       fs::directory_iterator(database_in(folder / "whole"))) {
    files.push_back(file.path().filename());
  }
  for (const auto& file : files) {
    SCOPED_TRACE(file);
    fs::remove_all(folder / "damaged");
    fs::copy(folder / "whole", folder / "damaged", fs::copy_options::recursive);
    const fs::path path = database_in(folder / "damaged") / file;
    const auto size = fs::file_size(path);
    testing_support::write_file(path, std::string(size, '\x5a'));

    const auto use = [&] {
      IndexStore store(folder / "damaged");
      const auto found = contents(store);
      put(store, "new", "value");
      EXPECT_EQ(store.get("new"), "value");
    };
    try {
      use();
    } catch (const IoError&) {
      EXPECT_NO_THROW(use());  // the second command at the latest
    }
  }
}

// RocksDB parses the properties of a table before it looks at their checksum,
// and follows a footer that has none.
TEST(IndexStore, WhereverATableIsDamagedTheProgramGoesOn) {
  TempFolder folder;
  {
    IndexStore store(folder / "whole");
    put(store, "key", std::string(100, 'x'));
  }
  fs::path table;
  for (const auto& file :
       fs::directory_iterator(database_in(folder / "whole"))) {
    if (file.path().extension() == ".sst") table = file.path();
  }
  ASSERT_FALSE(table.empty());
  const std::string whole = testing_support::read_file(table);
  const fs::path damaged =
      folder / "damaged" / table.lexically_relative(folder / "whole");
  constexpr std::size_t kStep = 3;
  constexpr std::size_t kDamaged = 8;
  for (std::size_t at = 0; at + kDamaged <= whole.size(); at += kStep) {
    SCOPED_TRACE(at);
    fs::remove_all(folder / "damaged");
    fs::copy(folder / "whole", folder / "damaged", fs::copy_options::recursive);
    testing_support::write_file(
        damaged, std::string(whole).replace(at, kDamaged, kDamaged, '\xff'));
    const auto use = [&] {
      IndexStore store(folder / "damaged");
      contents(store);
      put(store, "new", "value");
      EXPECT_EQ(store.get("new"), "value");
    };
    try {
      use();
    } catch (const IoError&) {
      EXPECT_NO_THROW(use());
    }
  }
}

TEST(IndexStore, OthersThatWriteAreWaitedForNoLongerThanAllowed) {
  TempFolder folder;
  IndexStore store(folder.path());
  IndexStore other(folder.path());
  auto inner = IndexStore::Written::yes;
  const auto outer = store.write(10s, [&](IndexStore::Writer&) {
    inner = other.write(20ms, [](IndexStore::Writer&) {});
  });
  EXPECT_EQ(outer, IndexStore::Written::yes);
  EXPECT_EQ(inner, IndexStore::Written::others_are_writing);
}

// This very program once more, as another process that works on `folder`. Not
// by fork alone: RocksDB's threads do not survive that.
class OtherProcess {
 public:
  OtherProcess(const char* work, const fs::path& folder) {
    const std::string filter = std::string("--gtest_filter=") + work;
    child_ = ::fork();
    if (child_ != 0) return;
    ::setenv("CAIRN_TEST_FOLDER", folder.c_str(), 1);
    ::execl("/proc/self/exe", "index_store_test", filter.c_str(),
            "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    ::_exit(1);
  }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;

  void kill() const { ::kill(child_, SIGKILL); }

  int wait() const {
    int status = 0;
    ::waitpid(child_, &status, 0);
    return status;
  }

 private:
  pid_t child_;
};

TEST(OtherProcess, DISABLED_WritesFortyValues) {
  IndexStore store(std::getenv("CAIRN_TEST_FOLDER"));
  for (int i = 0; i < 40; ++i) put(store, std::to_string(i), "value");
}

TEST(OtherProcess, DISABLED_WritesForEver) {
  const fs::path folder = std::getenv("CAIRN_TEST_FOLDER");
  IndexStore store(folder);
  put(store, "before", "value");
  (void)store.write(10s, [&](IndexStore::Writer& changes) {
    for (int i = 0;; ++i) {
      changes.put("key" + std::to_string(i), std::string(1000, 'x'));
      if (i == 20'000) testing_support::write_file(folder / "far", "");
    }
  });
}

// What many commands at once do to it, for a while.
TEST(OtherProcess, DISABLED_OpensReadsWritesAndClears) {
  const fs::path folder = std::getenv("CAIRN_TEST_FOLDER");
  std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
  const auto until = std::chrono::steady_clock::now() + 3s;
  while (std::chrono::steady_clock::now() < until) {
    IndexStore store(folder);
    for (int i = 0; i < 4; ++i) {
      for (const auto& [key, value] : contents(store)) {
        ASSERT_EQ(value, key + key);
      }
      const auto key = std::to_string(random() % 1000);
      switch (random() % 5) {
        case 0:
          ASSERT_EQ(store.clear(10s), IndexStore::Written::yes);
          break;
        case 1:
          break;
        default:
          put(store, key, key + key);
          EXPECT_EQ(store.get(key), key + key);
      }
    }
  }
}

TEST(IndexStore, ManyProcessesMayOpenWriteAndClearItAtOnce) {
  TempFolder folder;
  const char* const work = "OtherProcess.DISABLED_OpensReadsWritesAndClears";
  {
    const OtherProcess first(work, folder.path());
    const OtherProcess second(work, folder.path());
    const OtherProcess third(work, folder.path());
    const OtherProcess fourth(work, folder.path());
    for (const auto* const process : {&first, &second, &third, &fourth}) {
      EXPECT_EQ(process->wait(), 0);
    }
  }

  IndexStore store(folder.path());
  put(store, "last", "value");
  std::size_t databases = 0;
  for (const auto& item : fs::directory_iterator(folder.path())) {
    databases += item.path().filename().string().starts_with("db2-") ? 1 : 0;
  }
  EXPECT_EQ(databases, 1U);
}

TEST(IndexStore, AReaderKeepsWhatAnotherClearsUntilItWrites) {
  TempFolder folder;
  IndexStore reader(folder.path());
  put(reader, "a", "1");
  const auto before = reader.generations();
  IndexStore other(folder.path());
  ASSERT_EQ(other.clear(10s), IndexStore::Written::yes);

  EXPECT_EQ(reader.get("a"), "1");
  EXPECT_EQ(reader.generations(), before);

  put(reader, "b", "2");
  EXPECT_EQ(contents(reader), (Map{{"b", "2"}}));
  EXPECT_NE(reader.generations(), before);
}

// Of some of its files only a merge reads every block.
TEST(IndexStore, DamageThatOnlyAMergeReadsIsHealedByTheWriteThatFindsIt) {
  TempFolder folder;
  {
    IndexStore store(folder.path());
    for (int i = 0; i < 3; ++i) {
      put(store, "key" + std::to_string(i), std::string(20'000, 'x'));
    }
  }
  for (const auto& file : fs::directory_iterator(database_in(folder.path()))) {
    if (file.path().extension() != ".sst") continue;
    std::fstream(file.path(), std::ios::in | std::ios::out) << "damaged block";
  }

  IndexStore store(folder.path());
  for (int i = 0; i < 8; ++i) {  // enough for a merge
    put(store, "new" + std::to_string(i), "value");
  }

  EXPECT_EQ(store.get("new7"), "value");
}

TEST(IndexStore, OneProcessReadsWhileAnotherWrites) {
  TempFolder folder;
  const OtherProcess writer("OtherProcess.DISABLED_WritesFortyValues",
                            folder.path());
  IndexStore store(folder.path());
  for (int i = 0; i < 40; ++i) {
    for (const auto& [key, value] : contents(store)) EXPECT_EQ(value, "value");
    put(store, "mine" + std::to_string(i), "value");
  }
  EXPECT_EQ(writer.wait(), 0);
  put(store, "last", "value");
  EXPECT_EQ(contents(store).size(), 81U);
}

TEST(IndexStore, AKilledWriterLeavesWhatWasWrittenBefore) {
  TempFolder folder;
  const OtherProcess writer("OtherProcess.DISABLED_WritesForEver",
                            folder.path());
  while (!fs::exists(folder / "far")) std::this_thread::sleep_for(5ms);
  writer.kill();
  EXPECT_TRUE(WIFSIGNALED(writer.wait()));

  IndexStore store(folder.path());
  EXPECT_EQ(store.get("before"), "value");
  put(store, "after", "value");
  const auto left = contents(store, "key");
  for (std::size_t i = 0; i < left.size(); ++i) {
    ASSERT_TRUE(left.contains("key" + std::to_string(i))) << "a gap";
  }
}

TEST(IndexStore, AWriterKilledWhileATableIsTakenInLeavesTheDatabaseWhole) {
  TempFolder folder;
  Map expected;
  {
    IndexStore store(folder.path());
    for (int i = 0; i < 3; ++i) {
      const std::string key = "key " + std::to_string(i);
      expected[key] = std::string(100'000, static_cast<char>('a' + i));
      put(store, key, expected[key]);
    }
  }
  const fs::path database = database_in(folder.path());
  fs::path table;
  for (const auto& file : fs::directory_iterator(database)) {
    if (file.path().extension() == ".sst") table = file.path();
  }
  // The table has its new name, and the old one was not taken away yet.
  fs::create_hard_link(table, database / "next-table");

  IndexStore store(folder.path());
  put(store, "another", "value");

  expected["another"] = "value";
  EXPECT_TRUE(contents(store) == expected);
  EXPECT_EQ(database_in(folder.path()), database);
}

TEST(IndexStore, KeepsNoLogOfWhatIsInTables) {
  TempFolder folder;
  for (int i = 0; i < 20; ++i) {
    IndexStore store(folder.path());
    put(store, "key " + std::to_string(i), "value");
  }
  int logs = 0;
  for (const auto& file : fs::directory_iterator(database_in(folder.path()))) {
    if (file.path().extension() == ".log") ++logs;
  }
  EXPECT_LE(logs, 1);
  EXPECT_EQ(contents(IndexStore(folder.path())).size(), 20u);
}

// Each opening would write, sync and parse a file that nobody reads.
TEST(IndexStore, KeepsNoOptions) {
  TempFolder folder;
  IndexStore store(folder.path());
  put(store, "key", "value");
  put(store, "key", "other value");
  EXPECT_EQ(store.get("key"), "other value");
  for (const auto& file : fs::directory_iterator(database_in(folder.path()))) {
    EXPECT_FALSE(file.path().filename().string().starts_with("OPTIONS"))
        << file.path();
  }
}

TEST(IndexStore, ReadersOfOneProcessGoOnDuringAWrite) {
  TempFolder folder;
  IndexStore store(folder.path());
  put(store, "a", "1");
  std::atomic<bool> is_done = false;
  std::jthread reader([&] {
    while (!is_done) EXPECT_EQ(store.get("a"), "1");
  });
  for (int i = 0; i < 20; ++i) put(store, "b" + std::to_string(i), "2");
  is_done = true;
}

}  // namespace
}  // namespace cairn::repo
