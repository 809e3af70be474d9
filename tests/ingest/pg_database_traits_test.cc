// What a server makes of the statements is seen in tests/e2e/pg_restore_test.py
// on a server of version 15; these are of others.
#include "ingest/pg_database_traits.h"

#include <gtest/gtest.h>

#include <string>

namespace cairn::ingest {
namespace {

PgDatabaseTraits traits(const std::string& provider) {
  PgDatabaseTraits traits;
  traits.owner = "o";
  traits.encoding = "UTF8";
  traits.collate = "C.UTF-8";
  traits.character_type = "de_DE.utf8";
  traits.provider = provider;
  return traits;
}

TEST(CreateDatabase, IsSaidAsTheServersVersionWantsIt) {
  const std::string begin =
      "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 OWNER \"o\" ENCODING "
      "E'UTF8' LC_COLLATE E'C.UTF-8' LC_CTYPE E'de_DE.utf8'";
  const auto text = [](const PgDatabaseTraits& of, int major) {
    return create_database("a\"b", of, "o", major);
  };
  EXPECT_EQ(text(traits("c"), 14), begin);
  EXPECT_EQ(text(traits("c"), 15), begin + " LOCALE_PROVIDER libc");
  auto icu = traits("i");
  icu.locale = "de-'x";
  icu.rules = "&a < b";
  EXPECT_EQ(text(icu, 14), begin);
  EXPECT_EQ(text(icu, 15), begin + " LOCALE_PROVIDER icu ICU_LOCALE E'de-''x'");
  EXPECT_EQ(text(icu, 16), begin +
                               " LOCALE_PROVIDER icu ICU_LOCALE E'de-''x' "
                               "ICU_RULES E'&a < b'");
  auto builtin = traits("b");
  builtin.locale = "C.UTF-8";
  EXPECT_EQ(text(builtin, 16), begin + " LOCALE_PROVIDER libc");
  EXPECT_EQ(text(builtin, 17),
            begin + " LOCALE_PROVIDER builtin BUILTIN_LOCALE E'C.UTF-8'");
  EXPECT_EQ(create_database("x", std::nullopt, std::nullopt, 15),
            "CREATE DATABASE \"x\" TEMPLATE template0");
}

TEST(FinishDatabase, LetsNobodyInWhoWasNotLetIn) {
  auto of = traits("c");
  of.connection_limit = -1;  // none
  EXPECT_TRUE(finish_database("d", of).empty());
  for (const int limit : {0, 7}) {
    of.connection_limit = limit;
    const auto steps = finish_database("d", of);
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_EQ(steps[0].script, "ALTER DATABASE \"d\" CONNECTION LIMIT " +
                                   std::to_string(limit) + ";\n");
  }
}

TEST(FinishDatabase, NamesNoSecretInWords) {
  auto of = traits("c");
  of.settings = {{"", "app.secret", "it's \\ s3cret"},
                 {"r\"o", "search_path", "\"$user\", s3cret"}};
  of.grants = {{{"", "CONNECT", true},
                {"r", "CREATE", true},
                {"r", "ALL; DROP TABLE x", false}}};
  std::string words;
  std::string script;
  for (const auto& step : finish_database("d", of)) {
    words += step.what + "\n";
    script += step.script;
  }
  EXPECT_EQ(words.find("s3cret"), std::string::npos);
  EXPECT_EQ(script.find("DROP TABLE"), std::string::npos);
  EXPECT_EQ(script,
            "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC;\n"
            "GRANT CONNECT ON DATABASE \"d\" TO PUBLIC;\n"
            "GRANT CREATE ON DATABASE \"d\" TO \"r\" WITH GRANT OPTION;\n"
            "ALTER DATABASE \"d\" SET \"app.secret\" TO E'it''s \\\\ s3cret';\n"
            "BEGIN; SELECT pg_catalog.set_config(E'search_path', E'\"$user\", "
            "s3cret', true); ALTER ROLE \"r\"\"o\" IN DATABASE \"d\" SET "
            "\"search_path\" FROM CURRENT; COMMIT;\n");
}

}  // namespace
}  // namespace cairn::ingest
