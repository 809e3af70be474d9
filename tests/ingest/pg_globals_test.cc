#include "ingest/pg_globals.h"

#include <gtest/gtest.h>

#include <string>

#include "ingest/byte_stream.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

const std::string kBegin =
    "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict key\n\n"
    "SET default_transaction_read_only = off;\n";
const std::string kEnd =
    "\n\n\\unrestrict key\n\n--\n-- PostgreSQL database cluster dump "
    "complete\n--\n\n";

std::string globals(const std::string& inside) {
  return kBegin + inside + kEnd;
}

TEST(Globals, AreLeftAsTheyAreWhereTheyAreThere) {
  const auto text = globals(
      "CREATE ROLE shop;\n"
      "ALTER ROLE shop WITH LOGIN PASSWORD 'SCRAM;\"x';\n"
      "CREATE ROLE \"odd; \"\"role\n-- x\";\n"
      "ALTER ROLE \"odd; \"\"role\n-- x\" WITH NOLOGIN;\n"
      "COMMENT ON ROLE shop IS 'it''s; hers\n\\connect x';\n"
      "-- User Config \"it's\"\n"
      "ALTER ROLE shop SET search_path TO 'a', 'b;';\n"
      "GRANT shop TO \"odd; \"\"role\n-- x\";\n"
      "CREATE TABLESPACE fast OWNER shop LOCATION '/fast';\n"
      "CREATE TABLESPACE slow OWNER shop LOCATION '/slow';\n");

  const auto all = globals_without(text, {});
  EXPECT_EQ(all.made.roles,
            (std::set<std::string>{"shop", "odd; \"role\n-- x"}));
  EXPECT_EQ(all.made.tablespaces, (std::set<std::string>{"fast", "slow"}));
  EXPECT_EQ(all.script.find("\\restrict"), std::string::npos);

  const auto some =
      globals_without(text, {.roles = {"shop"}, .tablespaces = {"fast"}});
  EXPECT_EQ(some.kept.roles, (std::set<std::string>{"shop"}));
  EXPECT_EQ(some.kept.tablespaces, (std::set<std::string>{"fast"}));
  EXPECT_EQ(some.made.roles, (std::set<std::string>{"odd; \"role\n-- x"}));
  EXPECT_EQ(some.script,
            "SET default_transaction_read_only = off;\n"
            "CREATE ROLE \"odd; \"\"role\n-- x\";\n"
            "ALTER ROLE \"odd; \"\"role\n-- x\" WITH NOLOGIN;\n"
            "GRANT shop TO \"odd; \"\"role\n-- x\";\n"
            "CREATE TABLESPACE slow OWNER shop LOCATION '/slow';\n");
}

TEST(Globals, GiveNothingToWhatIsThere) {
  const PgGlobalNames existing{.roles = {"bob", "admins"},
                               .tablespaces = {"fast"}};
  const auto script_of = [&](const std::string& inside) {
    const auto script = globals_without(globals(inside), existing).script;
    return script.substr(script.find('\n') + 1);
  };
  // That bob was one of the admins once is no reason that he is one again.
  for (const char* const ours :
       {"GRANT admins TO bob;\n",
        "GRANT \"admins\" TO bob WITH ADMIN OPTION GRANTED BY postgres;\n",
        "GRANT admins TO bob WITH INHERIT TRUE GRANTED BY new;\n",
        "GRANT SET ON PARAMETER work_mem TO bob;\n",
        "REVOKE SET ON PARAMETER work_mem FROM bob;\n",
        "GRANT ALL ON TABLESPACE fast TO bob;\n",
        "GRANT ALL ON TABLESPACE fast TO PUBLIC;\n",
        "REVOKE ALL ON TABLESPACE fast FROM bob;\n",
        "REVOKE ALL ON TABLESPACE fast FROM PUBLIC;\n"}) {
    EXPECT_EQ(script_of(ours), "") << ours;
  }
  for (const char* const theirs :
       {"GRANT admins TO new;\n", "GRANT new TO bob;\n",
        "GRANT admins TO \"TO bob\";\n",
        "GRANT SET ON PARAMETER work_mem TO new;\n",
        "GRANT ALL ON TABLESPACE fast TO new WITH GRANT OPTION;\n",
        "GRANT ALL ON TABLESPACE slow TO bob;\n",
        "REVOKE ALL ON TABLESPACE slow FROM bob;\n",
        "REVOKE ALL ON TABLESPACE slow FROM PUBLIC;\n"}) {
    EXPECT_EQ(script_of(theirs), theirs);
  }
}

TEST(Globals, ThatAreCutAreRefused) {
  const auto text = globals("CREATE ROLE shop;\nCREATE ROLE other;\n");
  // Behind the closing marker are comments and ends of lines.
  for (std::size_t size = 0; size + 6 < text.size(); ++size) {
    EXPECT_THROW((void)globals_without(text.substr(0, size), {}),
                 ProducerFailed)
        << size;
  }
  EXPECT_THROW((void)globals_without(globals("CREATE ROLE 'x;\n"), {}),
               ProducerFailed);
}

TEST(Globals, ThatLeadPsqlElsewhereAreRefused) {
  for (const char* const command :
       {"\\connect shop\n", "\\! rm\n", "\\restricted\n", "\\\n"}) {
    EXPECT_THROW((void)globals_without(globals(command), {}),
                 repo::RefusedForSafety)
        << command;
  }
}

}  // namespace
}  // namespace cairn::ingest
