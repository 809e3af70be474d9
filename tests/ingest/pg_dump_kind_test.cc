#include "ingest/pg_dump_kind.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::bytes_of;

std::optional<PgDumpKind> kind(const std::string& head) {
  return kind_of_pg_dump(bytes_of(head));
}

TEST(PgDumpKind, IsToldByTheBeginning) {
  EXPECT_EQ(kind("PGDMP\1\16"), PgDumpKind::archive);
  EXPECT_EQ(kind("--\n-- PostgreSQL database dump\n--\n"), PgDumpKind::sql);
  EXPECT_EQ(kind("--\n-- PostgreSQL database cluster dump\n--\n"),
            PgDumpKind::globals);
  std::string tar(512, '\0');
  tar.replace(0, 7, "toc.dat");
  EXPECT_EQ(kind(tar), std::nullopt);
  tar.replace(257, 5, "ustar");
  EXPECT_EQ(kind(tar), PgDumpKind::tar);
  tar[7] = 'x';
  EXPECT_EQ(kind(tar), std::nullopt);
}

TEST(PgDumpKind, IsNoneOfWhatIsCutOrSomethingElse) {
  for (const char* const head : {"", "PGDM", "--\n-- PostgreSQL database dum",
                                 "-- PostgreSQL database dump\n", "toc.dat"}) {
    EXPECT_EQ(kind(head), std::nullopt) << head;
  }
  EXPECT_EQ(what_is_no_pg_dump(bytes_of("\x1f\x8b\x08")), "compressed by gzip");
  EXPECT_EQ(what_is_no_pg_dump({}), "empty");
  EXPECT_EQ(what_is_no_pg_dump(bytes_of("DROP")),
            "no dump by pg_dump or pg_dumpall");
}

}  // namespace
}  // namespace cairn::ingest
