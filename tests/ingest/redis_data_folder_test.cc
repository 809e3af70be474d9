// Moving restored data into a server's folder where that does not succeed; what
// servers make of them is in tests/e2e/redis_restore_test.py.
#include "ingest/redis_data_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "repo/error.h"
#include "tests/support/rdb.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using testing::HasSubstr;
using testing_support::read_file;
using testing_support::write_file;

namespace fs = std::filesystem;

class RedisDataFolderTest : public testing::Test {
 protected:
  RedisDataFolderTest() { fs::create_directory(data()); }

  [[nodiscard]] fs::path data() const { return folder_ / "data"; }

  void write(const std::string& name, std::string_view content) const {
    fs::create_directories((data() / name).parent_path());
    write_file(data() / name, content);
  }

  // Every file there is, and what it holds.
  [[nodiscard]] std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(data())) {
      all[fs::relative(entry.path(), data())] =
          entry.is_directory() ? "folder" : read_file(entry.path());
    }
    return all;
  }

  [[nodiscard]] std::vector<std::string> restore(
      const std::string& suffix, const KnownRedisNames& saved = {}) const {
    RedisDataFolder folder(data(), saved);
    folder.write(std::as_bytes(std::span(rdb_)));
    folder.complete();
    return folder.put_in_place(suffix);
  }

  const std::string rdb_ = testing_support::real_rdb("redis-7.0");

 private:
  testing_support::TempFolder folder_;
};

TEST_F(RedisDataFolderTest, PutsTheDataWhereEveryServerLooks) {
  write("dump.rdb", "old");
  write("appendonly.aof", "old");

  EXPECT_EQ(
      restore(".before"),
      (std::vector<std::string>{"dump.rdb.before", "appendonly.aof.before"}));

  EXPECT_EQ(files(), (std::map<std::string, std::string>{
                         {"dump.rdb", rdb_},
                         {"dump.rdb.before", "old"},
                         {"appendonly.aof", rdb_},
                         {"appendonly.aof.before", "old"},
                         {"appendonlydir", "folder"},
                         {"appendonlydir/appendonly.aof.1.base.rdb", rdb_},
                         {"appendonlydir/appendonly.aof.manifest",
                          "file appendonly.aof.1.base.rdb seq 1 type b\n"}}));
}

TEST_F(RedisDataFolderTest, LeavesAllAsItWasWhenTheLastPlaceCannotBeChanged) {
  // "a" has room in its name for this suffix, and the others have none.
  const std::string suffix(250, 'x');
  write("a/log.manifest", "");
  write("dump.rdb", "old");
  const auto before = files();

  EXPECT_THROW((void)restore(suffix), repo::IoError);

  EXPECT_EQ(files(), before);
}

TEST_F(RedisDataFolderTest, AlsoWhereThereWasNothingInTheFirst) {
  write("dump.rdb", "old");
  const auto before = files();

  EXPECT_THROW((void)restore(std::string(250, 'x')), repo::IoError);

  EXPECT_EQ(files(), before);
}

TEST_F(RedisDataFolderTest, ChangesNothingWhereANameToMoveToIsTaken) {
  write("dump.rdb", "old");
  write("dump.rdb.before", "older");
  const auto before = files();

  EXPECT_THROW((void)restore(".before"), repo::RefusedForSafety);

  EXPECT_EQ(files(), before);
}

TEST_F(RedisDataFolderTest, TakesTheNamesOfTheServerThatWasSaved) {
  (void)restore(
      ".before",
      {.dump = "cache.rdb", .aof_folder = "aof", .aof_prefix = "shop.aof"});

  EXPECT_EQ(files(), (std::map<std::string, std::string>{
                         {"cache.rdb", rdb_},
                         {"aof", "folder"},
                         {"aof/shop.aof.1.base.rdb", rdb_},
                         {"aof/shop.aof.manifest",
                          "file shop.aof.1.base.rdb seq 1 type b\n"}}));
}

TEST_F(RedisDataFolderTest, TakesThoseOfTheFilesThatAreThereBeforeThem) {
  write("aof/shop.aof.manifest", "");
  write("dump.rdb", "old");
  const auto names = redis_names_in(
      data(), {.dump = "cache.rdb", .aof_folder = "x", .aof_prefix = "y"});
  EXPECT_EQ(names.dump, "dump.rdb");
  EXPECT_EQ(names.aof_folder, "aof");
  EXPECT_EQ(names.aof_prefix, "shop.aof");
}

TEST_F(RedisDataFolderTest, RefusesAFolderWithADumpByAnotherName) {
  // Of a server with `dbfilename`, which would start with its old data.
  for (const auto* const name : {"cache.rdb", "cache"}) {
    write(name, rdb_);
    EXPECT_THROW(RedisDataFolder{data()}, repo::RefusedForSafety) << name;
    EXPECT_EQ(redis_names_in(data(), {.dump = name}).dump, name);
    write("dump.rdb", "old");
    EXPECT_THROW((void)redis_names_in(data(), {.dump = name}),
                 repo::RefusedForSafety);
    fs::remove(data() / name);
    fs::remove(data() / "dump.rdb");
  }
  write("shop.aof", "old");
  EXPECT_THROW(RedisDataFolder{data()}, repo::RefusedForSafety);
  EXPECT_EQ(redis_names_in(data(), {.aof_prefix = "shop.aof"}).aof_prefix,
            "shop.aof");
}

TEST_F(RedisDataFolderTest, MindsNothingElseThatLiesThere) {
  write("notes", "of somebody, and longer than a dump's beginning");
  write("dump.rdb.before-20261127T122100Z", rdb_);
  write("temp-123.rdb", rdb_);
  ASSERT_EQ(::mkfifo((data() / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(has_redis_data(data()));
  (void)restore(".before");
  EXPECT_TRUE(has_redis_data(data()));
}

TEST_F(RedisDataFolderTest, SaysWhatIsNoFolder) {
  write("file", "");
  EXPECT_THROW(RedisDataFolder{data() / "file"}, repo::RefusedForSafety);
}

}  // namespace
}  // namespace cairn::ingest
