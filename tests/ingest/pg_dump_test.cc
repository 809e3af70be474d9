#include "ingest/pg_dump.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

using testing_support::BackupSite;

TEST(PgDumpName, IsOneThatASnapshotCanHold) {
  const auto name = [](std::string_view database) {
    return pg_dump_name(database, PgDumpFormat::custom);
  };
  EXPECT_EQ(name("shop"), "shop.dump");
  EXPECT_EQ(name("it's \"odd\" \xc3\xa9 \xff"),
            "it's \"odd\" \xc3\xa9 \xff.dump");
  EXPECT_EQ(name("a/b%2F\n\x7f"), "a%2Fb%252F%0A%7F.dump");
  EXPECT_EQ(name(".."), "%2E..dump");
  EXPECT_EQ(pg_dump_name("a/b", PgDumpFormat::plain), "a%2Fb.sql");
  EXPECT_EQ(pg_tables_name("a/b"), "a%2Fb.tables.json");
}

TEST(PgDumpName, IsNoOthers) {
  std::set<std::string> names = {"globals.sql"};
  std::size_t count = 1;
  for (const char* const database :
       {"globals", "%67lobals", "a/b", "a%2Fb", "a%b", "shop", "shop.tables",
        "shop.dump", ".x", "%2Ex"}) {
    names.insert(pg_dump_name(database, PgDumpFormat::custom));
    names.insert(pg_dump_name(database, PgDumpFormat::plain));
    names.insert(pg_tables_name(database));
    count += 3;
  }
  EXPECT_EQ(names.size(), count);
}

TEST(PgDumpName, SaysWhichDatabaseItIsOf) {
  for (const char* const database :
       {"shop", "globals", "a/b%2F\n\x7f", "..", "it's \"odd\" \xc3\xa9 \xff",
        "a%b", "%", "%4", "x.sql", "x.dump"}) {
    for (const auto format : {PgDumpFormat::custom, PgDumpFormat::plain}) {
      EXPECT_EQ(pg_database_of(pg_dump_name(database, format)), database);
    }
  }
  // Of names that others gave.
  EXPECT_EQ(pg_database_of("100%.sql"), "100%");
  EXPECT_EQ(pg_database_of("%zz%.dump"), "%zz%");
  for (const char* const name :
       {"globals.sql", "shop.tables.json", "shop", ".dump", ".sql", ""}) {
    EXPECT_EQ(pg_database_of(name), std::nullopt) << name;
  }
}

TEST(PgRestrictKey, IsOfTheRepositoryAndTakenByPgDump) {
  BackupSite one;
  BackupSite other;
  const std::string key = pg_restrict_key(one.open().keyring());

  EXPECT_EQ(key.size(), 32U);
  EXPECT_TRUE(std::ranges::all_of(
      key, [](unsigned char c) { return std::isalnum(c) != 0; }));
  EXPECT_EQ(pg_restrict_key(one.open().keyring()), key);
  EXPECT_EQ(pg_restrict_key(one.open_as(repo::Role::write).keyring()), key);
  EXPECT_NE(pg_restrict_key(other.open().keyring()), key);
}

}  // namespace
}  // namespace cairn::ingest
