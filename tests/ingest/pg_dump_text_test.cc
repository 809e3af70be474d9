#include "ingest/pg_dump_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/byte_stream.h"
#include "tests/support/bytes.h"

namespace cairn::ingest {
namespace {

using testing_support::bytes_of;

constexpr std::string_view kBeginning =
    "--\n"
    "-- PostgreSQL database dump\n"
    "--\n"
    "\n"
    "\\restrict key\n"
    "\n"
    "SET client_encoding = 'UTF8';\n";

constexpr std::string_view kEnd =
    "\n"
    "--\n"
    "-- PostgreSQL database dump complete\n"
    "--\n"
    "\n"
    "\\unrestrict key\n"
    "\n";

std::string table(const std::string& name, const std::string& rows) {
  return "\n--\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: "
         "o\n--\n\nCOPY " +
         name + " (a, b) FROM stdin;\n" + rows + "\\.\n";
}

std::string dump(const std::string& inside) {
  return std::string(kBeginning) + inside + std::string(kEnd);
}

// Fed in pieces of so many bytes. Answers what finish(), or add(), said.
std::string fault_of(DumpTextScanner& scanner, const std::string& text,
                     std::size_t piece = 1000) {
  const auto bytes = bytes_of(text);
  try {
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      scanner.add(
          std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    scanner.finish();
  } catch (const ProducerFailed& e) {
    return e.what();
  }
  return "";
}

std::string fault_of(const std::string& text, std::size_t piece = 1000) {
  DumpTextScanner scanner(DumpTextKind::database);
  return fault_of(scanner, text, piece);
}

TEST(DumpText, CountsTheRowsOfEachTableWhateverThePieces) {
  const std::string text =
      dump(table("public.t", "1\tone\n2\ttwo\n") + table("shop.empty", "") +
           table("\"S\".\"we\"\"ird.name (x)\"", "\\\\.\tx\n"));
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    DumpTextScanner scanner(DumpTextKind::database);
    ASSERT_EQ(fault_of(scanner, text, piece), "") << piece;
    ASSERT_EQ(scanner.tables(),
              (std::vector<TableInDump>{{"public", "t", 2, 12},
                                        {"shop", "empty", 0, 0},
                                        {"S", "we\"ird.name (x)", 1, 6}}))
        << piece;
    ASSERT_EQ(scanner.table_count(), 3U);
    ASSERT_EQ(scanner.row_count(), 3U);
  }
}

TEST(DumpText, IsFoundCutWhereverItIsCut) {
  const std::string text =
      dump(table("public.t", "1\tone\n2\ttwo\n") + table("public.u", "3\tx\n"));
  const std::string marker = "-- PostgreSQL database dump complete\n";
  const std::size_t marker_end = text.find(marker) + marker.size();
  for (std::size_t size = 0; size < marker_end; ++size) {
    ASSERT_NE(fault_of(text.substr(0, size)), "") << size;
  }
  EXPECT_EQ(fault_of(text), "");
}

TEST(DumpText, SaysInWhichTableItIsCut) {
  const std::string whole = dump(table("shop.orders", "1\tone\n2\ttwo\n"));

  EXPECT_EQ(fault_of(whole.substr(0, whole.find("two"))),
            "it ends in the middle of the data of table shop.orders");
}

// A block that is not ended swallows the marker.
TEST(DumpText, IsFoundWithoutTheEndOfABlock) {
  std::string text = dump(table("public.t", "1\tone\n"));
  text.erase(text.find("\\.\n"), 3);

  EXPECT_EQ(fault_of(text),
            "it ends in the middle of the data of table public.t");
}

TEST(DumpText, TakesNoRowForAMarker) {
  DumpTextScanner scanner(DumpTextKind::database);

  EXPECT_EQ(
      fault_of(scanner, dump(table("public.t",
                                   "-- PostgreSQL database dump complete\n"
                                   "COPY public.u (a) FROM stdin;\n"
                                   "-- Data for Name: t; Type: TABLE DATA; x\n"
                                   "\\.x\n"))),
      "");
  EXPECT_EQ(scanner.row_count(), 4U);
}

// Which a function's body may well hold.
TEST(DumpText, TakesNoSqlForABlockOrAnEnd) {
  DumpTextScanner scanner(DumpTextKind::database);
  const std::string body =
      "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\n"
      "COPY public.t (a) FROM stdin;\n"
      "-- PostgreSQL database dump complete\n"
      "\\.\n$$;\n\n--\n"
      "-- Name: g(); Type: FUNCTION; Schema: public; Owner: o\n--\n";

  EXPECT_EQ(fault_of(scanner, dump(body)), "");
  EXPECT_EQ(scanner.table_count(), 0U);
}

TEST(DumpText, FindsTheStatementBehindOtherOnesAndItsNameOnSeveralLines) {
  DumpTextScanner scanner(DumpTextKind::database);
  const std::string text =
      "-- Data for Name: x y; Type: TABLE DATA; Schema: public; Owner: o\n--\n"
      "\nALTER TABLE public.t DISABLE TRIGGER ALL;\n"
      "COPY public.\"x\n FROM\ny\" (a,\n\"b\") FROM stdin;\n1\t2\n\\.\n";

  EXPECT_EQ(fault_of(scanner, dump(text)), "");
  EXPECT_EQ(scanner.tables(),
            (std::vector<TableInDump>{{"public", "x\n FROM\ny", 1, 4}}));
}

// Large objects, and tables whose rows are not there.
TEST(DumpText, TakesOtherDataForNoTable) {
  DumpTextScanner scanner(DumpTextKind::database);
  const std::string text =
      "-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -\n--\n\n"
      "COPY public.t (a) FROM stdin;\n\n"
      "-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n"
      "INSERT INTO public.t VALUES (1);\n\n--\n"
      "-- Name: u; Type: TABLE; Schema: public; Owner: o\n--\n\n"
      "COPY public.u (a) FROM stdin;\n";

  EXPECT_EQ(fault_of(scanner, dump(text)), "");
  EXPECT_EQ(scanner.table_count(), 0U);
}

TEST(DumpText, GoesOnBehindAMarkerOnlyToAnotherOne) {
  const std::string one = dump(table("public.t", "1\n"));

  EXPECT_NE(fault_of(one + "SELECT 1;\n"), "");
  EXPECT_NE(fault_of(one + "x"), "");
  EXPECT_EQ(fault_of(one + one), "");
}

TEST(DumpText, IsRefusedAtOnceWhenItDoesNotBeginAsADump) {
  for (const char* const text :
       {"PGDMP\n", "--\n-- PostgreSQL database cluster dump\n", "\n--\n",
        "pg_dump: error: nothing\n"}) {
    DumpTextScanner scanner(DumpTextKind::database);
    EXPECT_THROW(scanner.add(bytes_of(text)), ProducerFailed) << text;
  }
  EXPECT_NE(fault_of(""), "");
}

TEST(DumpText, OfAClusterHasMarkersOfItsOwn) {
  const std::string text =
      "--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE a;\n\n"
      "\\unrestrict key\n\n--\n-- PostgreSQL database cluster dump "
      "complete\n--\n\n";
  DumpTextScanner whole(DumpTextKind::cluster);
  DumpTextScanner cut(DumpTextKind::cluster);
  DumpTextScanner database(DumpTextKind::cluster);

  EXPECT_EQ(fault_of(whole, text), "");
  EXPECT_EQ(fault_of(cut, text.substr(0, text.find("complete"))),
            "it does not end with the line '-- PostgreSQL database cluster "
            "dump complete' by which pg_dump says that all was written");
  EXPECT_NE(fault_of(database, dump("")), "");
}

// Of lines longer than a piece, only the ends are kept.
TEST(DumpText, CountsRowsOfAnyLength) {
  DumpTextScanner scanner(DumpTextKind::database);
  const std::string row = std::string(3'000'000, 'x') + " FROM stdin;\n";

  EXPECT_EQ(fault_of(scanner, dump(table("public.t", row + row))), "");
  EXPECT_EQ(scanner.tables(),
            (std::vector<TableInDump>{{"public", "t", 2, 2 * row.size()}}));
}

TEST(DumpText, CountsMoreTablesThanItNames) {
  DumpTextScanner scanner(DumpTextKind::database);
  scanner.add(bytes_of(kBeginning));
  const auto one = bytes_of(table("public.t", "1\n"));
  for (std::size_t i = 0; i < DumpTextScanner::kMaxTables + 1; ++i) {
    scanner.add(one);
  }
  scanner.add(bytes_of(kEnd));

  EXPECT_NO_THROW(scanner.finish());
  EXPECT_EQ(scanner.tables().size(), DumpTextScanner::kMaxTables);
  EXPECT_EQ(scanner.table_count(), DumpTextScanner::kMaxTables + 1);
  EXPECT_EQ(scanner.row_count(), DumpTextScanner::kMaxTables + 1);
}

TEST(TableOfCopy, HasNoNameWhereThereIsNone) {
  EXPECT_EQ(table_of_copy("COPY t (a) FROM stdin;"),
            (TableInDump{"", "t", 0, 0}));
  EXPECT_EQ(table_of_copy("COPY \"s\".\"not closed"), (TableInDump{"s", ""}));
  EXPECT_EQ(table_of_copy("SELECT 1"), TableInDump{});
}

}  // namespace
}  // namespace cairn::ingest
