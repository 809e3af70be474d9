// Against a real server, which is started once for all of them.
#include "ingest/pg_extract.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ingest/pg_restore.h"
#include "repo/error.h"
#include "tests/support/throwaway_postgres.h"

namespace cairn::ingest {
namespace {

using testing_support::ThrowawayPostgres;

TEST(TableName, IsSpelledAsInSql) {
  EXPECT_EQ(parse_table_name("orders"), (PgTableName{"public", "orders"}));
  EXPECT_EQ(parse_table_name("stock.orders"), (PgTableName{"stock", "orders"}));
  EXPECT_EQ(parse_table_name("\"a.\"\"b\".\"c d\""),
            (PgTableName{"a.\"b", "c d"}));
  for (const char* const text : {"", ".", "a.", ".a", "a.b.c", "a b", "\"a",
                                 "a;b", "\"a\"b", "a.\"\""}) {
    EXPECT_THROW((void)parse_table_name(text), std::invalid_argument) << text;
  }
}

class Extracts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!ThrowawayPostgres::is_installed()) return;
    server = std::make_unique<ThrowawayPostgres>();
    tell(of("postgres"), "CREATE DATABASE shop", {});
    run_script(of("shop"), R"(
      CREATE SCHEMA stock;
      CREATE TYPE stock.size AS ENUM ('small', 'large');
      CREATE TABLE stock.orders (id int PRIMARY KEY);
      INSERT INTO stock.orders SELECT generate_series(1, 10);
      CREATE TABLE stock."the ""lines" (
        id int GENERATED ALWAYS AS IDENTITY, n serial,
        o int REFERENCES stock.orders, s stock.size DEFAULT 'small');
      INSERT INTO stock."the ""lines" (o) SELECT generate_series(1, 10);
      CREATE FUNCTION stock.no() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RAISE ''no''; END';
      CREATE TRIGGER no BEFORE DELETE ON stock."the ""lines"
        FOR EACH ROW EXECUTE FUNCTION stock.no();
      CREATE TABLE parts (id int PRIMARY KEY, o int REFERENCES stock.orders)
        PARTITION BY RANGE (id);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
      CREATE TABLE stock.parts_2 PARTITION OF parts
        FOR VALUES FROM (10) TO (20);
      INSERT INTO parts SELECT i, 1 FROM generate_series(5, 14) i;)",
               {});
    tell(of("postgres"), "CREATE DATABASE live TEMPLATE shop", {});
    run_script(of("live"), R"(
      ALTER TABLE stock."the ""lines" DISABLE TRIGGER no;
      TRUNCATE stock.orders, stock."the ""lines", parts;)",
               {});
  }
  static void TearDownTestSuite() { server.reset(); }
  void SetUp() override {
    if (!server) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  }

  static PgPrograms programs() {
    return PgPrograms::in_folder("/usr/lib/postgresql/15/bin");
  }
  static PgQuestions of(const std::string& database) {
    return {programs(), PgDumpDsn(server->dsn()).with_database(database)};
  }
  static std::string value(const std::string& database,
                           const std::string& query) {
    return ask(of(database), 1, query, {}).at(0).at(0);
  }

  static std::unique_ptr<ThrowawayPostgres> server;
};

std::unique_ptr<ThrowawayPostgres> Extracts::server;

const std::vector<PgTableName> kTables = {{"stock", "the \"lines"},
                                          {"public", "parts"}};

TEST_F(Extracts, OfTablesThatAreNotThereNameThem) {
  try {
    (void)find_tables(of("shop"), {{"stock", "orders"}, {"a", "b"}}, {});
    FAIL();
  } catch (const repo::NotFound& e) {
    EXPECT_NE(std::string(e.what()).find("no table a.b "), std::string::npos)
        << e.what();
  }
  EXPECT_EQ(find_tables(of("shop"), kTables, {}).size(), 4U);
}

TEST_F(Extracts, GoIntoASchemaBesideWithoutTouchingWhatIsThere) {
  const auto tables = find_tables(of("shop"), kTables, {});
  move_tables(of("shop"), tables, "old \"times", {});
  PgDumpStream stream(
      extract_command(of("shop"), {.tables = {}, .schema = "old \"times"},
                      PgDumpFormat::custom, PgDumpPacking::plain),
      [] { return repo::Timestamp{}; });
  PgTarget target(
      PgDumpDsn(server->dsn()),
      {.container = {}, .bin_dir = "/usr/lib/postgresql/15/bin", .path = {}},
      15, {});
  ASSERT_TRUE(target.has_database("live"));
  EXPECT_TRUE(target.has_schema("live", "stock", {}));
  EXPECT_FALSE(target.has_schema("live", "old \"times", {}));

  const auto loaded = target.load_beside(
      {.into = "live",
       .kind = PgDumpKind::archive,
       .content =
           [&](const ByteSink& sink) {
             std::array<std::byte, 4096> room;
             while (const auto size = stream.read(room, {})) {
               if (sink(std::span(room).first(size)) == repo::Visit::stop) {
                 return StreamEnd::not_wanted;
               }
             }
             stream.finish({});
             return StreamEnd::complete;
           },
       .traits = {},
       .tables =
           [&] {
             std::vector<PgTableBefore> before;
             for (const auto& table : stream.tables()) {
               before.push_back({table.schema, table.name, table.rows, {}});
             }
             return before;
           }},
      PgAmcheckWanted::no, {});

  EXPECT_EQ(loaded.comparison.difference_count, 0U);
  EXPECT_EQ(loaded.comparison.tables, 3U);
  EXPECT_EQ(loaded.comparison.rows, 20U);
  EXPECT_EQ(value("live", "SELECT count(*) FROM \"old \"\"times\".parts"),
            "10");
  EXPECT_EQ(value("live",
                  "SELECT count(*) || ' ' || max(id) || ' ' || max(n) || ' ' "
                  "|| max(s) FROM \"old \"\"times\".\"the \"\"lines\""),
            "10 10 10 small");
  EXPECT_EQ(value("live", "SELECT count(*) FROM parts"), "0");
  EXPECT_EQ(value("live",
                  "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND "
                  "connamespace = '\"old \"\"times\"'::regnamespace"),
            "0");
  EXPECT_EQ(value("live",
                  "SELECT count(*) FROM pg_trigger t JOIN pg_class c "
                  "ON c.oid = tgrelid WHERE relnamespace = "
                  "'\"old \"\"times\"'::regnamespace"),
            "0");
}

}  // namespace
}  // namespace cairn::ingest
