#include "cli/pg_tables_document.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::cli {
namespace {

const std::string kTraits =
    R"("traits":{"owner":"o","encoding":"UTF8","collate":"C",)"
    R"("character_type":"C","locale_provider":"c","locale":"","rules":"",)"
    R"("connection_limit":-1,"comment":"",)"
    R"("settings":[{"role":"","name":"n","value":"v"}],)"
    R"("grants":[{"role":"r","privilege":"CONNECT",)"
    R"("with_grant_option":true}],)"
    R"("extensions":[{"name":"vector","version":"0.8"}]})";

std::string document(const std::string& tables, const std::string& more = "") {
  return R"({"type":"pg_tables","v":1,"database":"d","source":"d.dump",)"
         R"("server_version":"15.18","pg_dump_version":"16.3",)"
         R"("tables_with_data":1,"rows":2,"tables":[)" +
         tables + "]" + more + "}\n";
}

TEST(TablesDocument, IsReadAsItWasWritten) {
  const auto read = read_pg_tables_document(document(
      R"({"schema":"s","table":"t","rows":2,"dump_bytes":9,"table_bytes":8},)"
      R"({"schema":"s","table":"v","table_bytes":7,"total_bytes":9},)"
      R"({"schema":"s","table":"?","table_b64":"/w==","rows":1})",
      "," + kTraits));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->server_version, "15.18");
  EXPECT_EQ(read->pg_dump_version, "16.3");
  EXPECT_EQ(read->tables_with_data, 1U);
  ASSERT_EQ(read->tables.size(), 2U);
  EXPECT_EQ(read->tables[0], (ingest::PgTableBefore{"s", "t", 2, 8}));
  EXPECT_EQ(read->tables[1],
            (ingest::PgTableBefore{"s", "v", std::nullopt, 7}));
  ASSERT_TRUE(read->traits);
  EXPECT_EQ(read->traits->settings,
            (std::vector<ingest::PgSetting>{{"", "n", "v"}}));
  EXPECT_EQ(read->traits->grants,
            (std::vector<ingest::PgGrant>{{"r", "CONNECT", true}}));
  EXPECT_EQ(read->traits->extensions,
            (std::vector<ingest::PgExtension>{{"vector", "0.8"}}));
}

TEST(TablesDocument, ThatIsNoneIsNone) {
  const auto good = document(R"({"schema":"s","table":"t","rows":2})");
  ASSERT_TRUE(read_pg_tables_document(good));
  for (std::size_t size = 0; size + 2 < good.size(); ++size) {
    EXPECT_FALSE(read_pg_tables_document(good.substr(0, size))) << size;
  }
  for (const char* const text :
       {"[]", "1", "null", R"({"type":"pg_tables"})", R"({"type":1})"}) {
    EXPECT_FALSE(read_pg_tables_document(text)) << text;
  }
  for (const char* const table :
       {"1", R"({"schema":"s"})", R"({"schema":"s","table":1})",
        R"({"schema":"s","table":"t","rows":-1})",
        R"({"schema":"s","table":"t","rows":1.5})",
        R"({"schema":"s","table":"t","rows":"2"})"}) {
    EXPECT_FALSE(read_pg_tables_document(document(table))) << table;
  }
}

TEST(TablesDocument, OfHalfTheTraitsHasNone) {
  auto traits = kTraits;
  traits.replace(traits.find("\"owner\":\"o\""), 11,
                 "\"owner\":\"?\",\"owner_b64\":\"/w==\"");
  const auto read = read_pg_tables_document(document("", "," + traits));
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->traits);
}

}  // namespace
}  // namespace cairn::cli
