#include "ingest/pg_dump_dsn.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace cairn::ingest {
namespace {

std::string refusal_of(const std::string& text) {
  try {
    PgDumpDsn{text};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

TEST(PgDumpDsn, IsRefusedWithAPasswordHoweverThatIsWritten) {
  for (const char* const text :
       {"host=db password=hunter2", "password = hunter2", "password='hunter2",
        "host='a b' password=hunter2", R"(host='a\' ' password=hunter2)",
        R"(host=a\ b password=hunter2)", "sslpassword=hunter2",
        "postgresql://me:hunter2@db/shop", "postgres://me:@db/shop",
        "postgres://db/shop?password=hunter2",
        "postgresql://db/shop?sslmode=require&password=hunter2",
        "postgresql://db/shop?p%61ssword=hunter2",
        "postgresql://?sslpassword=hunter2"}) {
    const std::string refusal = refusal_of(text);
    EXPECT_NE(refusal.find("PGPASSWORD"), std::string::npos) << text;
    EXPECT_EQ(refusal.find("hunter2"), std::string::npos) << refusal;
  }
}

TEST(PgDumpDsn, IsTakenWithEverythingElse) {
  for (const char* const text :
       {"", "shop", "host=db user=me", "service=shop", "passfile=/a/pass",
        "user=password", "host = db  user= me ", "options='-c x=password=y'",
        "postgresql://me@db:5433/shop?sslmode=verify-full",
        "postgresql://db,other:5433/", "postgres://[::1]:5432/a",
        "postgresql://%2Frun%2Fpg/shop", "postgresql://"}) {
    EXPECT_EQ(refusal_of(text), "") << text;
  }
}

TEST(PgDumpDsn, IsRefusedWhenItIsNone) {
  for (const char* const text :
       {"host=db hunter2", "host='hunter2", "postgresql://db/?hunter2",
        "postgresql://db/?x%4=hunter2", "postgresql://db/?x%zz=hunter2"}) {
    const std::string refusal = refusal_of(text);
    EXPECT_TRUE(refusal.starts_with("--dsn: ")) << text;
    EXPECT_EQ(refusal.find("hunter2"), std::string::npos) << refusal;
  }
  EXPECT_NE(refusal_of(std::string("host=db\0x", 9)), "");
}

TEST(PgDumpDsn, NamesAnotherDatabase) {
  EXPECT_EQ(PgDumpDsn("host=db dbname=a").with_database("it's a\\b"),
            R"(host=db dbname=a dbname='it\'s a\\b')");
  EXPECT_EQ(PgDumpDsn("").with_database("x"), "dbname='x'");
  EXPECT_EQ(PgDumpDsn("a b").with_database("x"), "dbname='a b' dbname='x'");
  EXPECT_EQ(PgDumpDsn("postgresql://db/a").with_database("a&b =\xc3\xa9"),
            "postgresql://db/a?dbname=a%26b%20%3D%C3%A9");
  EXPECT_EQ(PgDumpDsn("postgresql://db/a?sslmode=require").with_database("x"),
            "postgresql://db/a?sslmode=require&dbname=x");
}

TEST(PgDumpDsn, NamesOneUnlessItDoesAlready) {
  const auto named = [](const char* text) {
    return PgDumpDsn(text).with_any_database();
  };
  EXPECT_EQ(named("host=db"), "host=db dbname='postgres'");
  EXPECT_EQ(named("postgresql://db"), "postgresql://db?dbname=postgres");
  EXPECT_EQ(named("postgresql://db/"), "postgresql://db/?dbname=postgres");
  EXPECT_EQ(named(" "), "  dbname='postgres'");
  for (const char* const text :
       {"host=db dbname=shop", "service=shop", "postgresql://db/shop",
        "postgresql://db?dbname=shop", "postgresql://db?service=shop"}) {
    EXPECT_EQ(named(text), text);
  }
  EXPECT_EQ(PgDumpDsn("host=db", "--dsn", "").with_any_database(), "host=db");
}

TEST(PgDumpDsn, IsRefusedByTheNameOfItsFlag) {
  try {
    (void)PgDumpDsn("password=x", "--to-dsn");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_EQ(std::string(e.what()).find("--to-dsn: it holds a password"), 0U)
        << e.what();
  }
}

}  // namespace
}  // namespace cairn::ingest
