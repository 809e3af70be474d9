#include "cli/redis_keys_document.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(RedisKeysDocument, IsReadAgain) {
  const auto document = read_redis_keys_document(
      R"({"type":"redis_keys","v":1,"server_version":"7.0.15",)"
      R"("not_walked":null,"databases":[)"
      R"({"database":0,"keys":20,"expiring":2,"types":{"string":20}},)"
      R"({"database":15,"keys":100,"expiring":100,"types":{}}]})");

  ASSERT_TRUE(document);
  EXPECT_EQ(document->server_version, "7.0.15");
  EXPECT_TRUE(document->is_walked);
  ASSERT_EQ(document->databases.size(), 2U);
  EXPECT_EQ(document->databases.at(15),
            (RedisKeysDocument::Database{100, 100}));
}

TEST(RedisKeysDocument, SaysWhereNothingWasCounted) {
  const auto document = read_redis_keys_document(
      R"({"type":"redis_keys","server_version":"","not_walked":"unknown",)"
      R"("databases":[]})");

  ASSERT_TRUE(document);
  EXPECT_FALSE(document->is_walked);
}

TEST(RedisKeysDocument, TellsWhatTheServerCallsItsData) {
  const auto names = [](const std::string& settings) {
    const auto document = read_redis_keys_document(
        R"({"type":"redis_keys","server_version":"","not_walked":null,)"
        R"("databases":[],"settings":)" +
        settings + "}");
    return document ? document->names : ingest::KnownRedisNames{};
  };
  EXPECT_EQ(
      names(R"({"dbfilename":"cache.rdb","appendfilename":"a b"})"),
      (ingest::KnownRedisNames{.dump = "cache.rdb", .aof_prefix = "a b"}));
  // What would lead out of the folder, or is no name.
  for (const auto* const bad :
       {R"({"dbfilename":"../x"})", R"({"dbfilename":"/etc/x"})",
        R"({"dbfilename":".."})", R"({"dbfilename":""})",
        R"({"dbfilename":"a\nb"})", R"({"dbfilename":"a\u0000b"})",
        R"({"dbfilename":7})", "[]", "7", R"("dbfilename")"}) {
    EXPECT_EQ(names(bad), ingest::KnownRedisNames{}) << bad;
  }
  EXPECT_EQ(names(R"({"dbfilename":")" + std::string(201, 'x') + R"("})"),
            ingest::KnownRedisNames{});
}

TEST(RedisKeysDocument, IsNothingElse) {
  for (const auto* const text :
       {"", "{}", "[]", "7", R"({"type":"pg_tables"})",
        R"({"type":"redis_keys"})",
        R"({"type":"redis_keys","server_version":7,"not_walked":null,)"
        R"("databases":[]})",
        R"({"type":"redis_keys","server_version":"","not_walked":null,)"
        R"("databases":[{"database":-1,"keys":"x","expiring":0}]})"}) {
    EXPECT_FALSE(read_redis_keys_document(text)) << text;
  }
}

}  // namespace
}  // namespace cairn::cli
