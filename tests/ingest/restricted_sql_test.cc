#include "ingest/restricted_sql.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace cairn::ingest {
namespace {

constexpr std::string_view kHead =
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict theirs\n\n-- Dumped\n";
constexpr std::string_view kBody =
    "SELECT 1;\nCOPY t FROM stdin;\na\\unrestrict theirs\n\\unrestricted\n"
    "\\unrestrict others\n\\.\n\n--\n-- PostgreSQL database dump complete\n";

std::string through(std::string_view text, std::size_t step) {
  RestrictedSql sql;
  std::string got;
  const auto emit = [&](std::string_view part) { got += part; };
  for (std::size_t at = 0; at < text.size(); at += step) {
    sql.add(text.substr(at, step), emit);
  }
  sql.close(emit);
  return got;
}

// What is behind our first line.
std::string inside(const std::string& got) {
  const std::string first = got.substr(0, got.find('\n') + 1);
  EXPECT_TRUE(first.starts_with("\\restrict ")) << first;
  return got.substr(first.size());
}

TEST(RestrictedSql, TakesOutTheDumpsOwnPairAndNothingElse) {
  const std::string dump =
      std::string(kHead) + std::string(kBody) + "\n\\unrestrict theirs\n\n";
  const std::string wanted =
      "--\n-- PostgreSQL database dump\n--\n\n\n-- Dumped\n" +
      std::string(kBody) + "\n\n";
  for (std::size_t step = 1; step <= dump.size(); ++step) {
    EXPECT_EQ(inside(through(dump, step)), wanted) << step;
  }
}

TEST(RestrictedSql, LeavesADumpWithoutAPairAsItIs) {
  const std::string dump =
      "--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n"
      "\\restrict late\n\\unrestrict late\n\\! id\n";
  for (std::size_t step = 1; step <= dump.size(); ++step) {
    EXPECT_EQ(inside(through(dump, step)), dump) << step;
  }
}

TEST(RestrictedSql, KeepsALastLineThatIsCut) {
  EXPECT_EQ(inside(through("SELECT 1", 3)), "SELECT 1");
  EXPECT_EQ(inside(through("-- no end", 4)), "-- no end");
  EXPECT_EQ(inside(through("", 1)), "");
  EXPECT_EQ(inside(through("\\restrict a\n\\unres", 5)), "\\unres");
}

TEST(RestrictedSql, HasAKeyOfItsOwnEachTime) {
  const auto key = [] {
    const std::string got = through("SELECT 1;\n", 100);
    return got.substr(0, got.find('\n'));
  };
  EXPECT_NE(key(), key());
}

}  // namespace
}  // namespace cairn::ingest
