#include "ingest/pg_dump_stream.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "repo/error.h"
#include "tests/support/bytes.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using testing_support::Bytes;
using testing_support::TempFolder;
using testing_support::text_of;
using testing_support::write_file;

constexpr const char* kDump =
    "--\n-- PostgreSQL database dump\n--\n\n"
    "-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\n--\n\n"
    "COPY public.t (a) FROM stdin;\n1\n2\n\\.\n\n"
    "--\n-- PostgreSQL database dump complete\n--\n\n";

std::vector<std::string> shell(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

// Programs that do as pg_dump and pg_restore do, well or badly.
class DumpStream : public ::testing::Test {
 protected:
  DumpStream() {
    ::signal(SIGPIPE, SIG_IGN);
    write_file(folder / "whole", kDump);
    const std::string text = kDump;
    write_file(folder / "cut", text.substr(0, text.find("2\n")));
  }

  [[nodiscard]] std::string print(const char* file) const {
    return "cat '" + (folder / file).string() + "'";
  }

  [[nodiscard]] std::unique_ptr<PgDumpStream> stream(
      const std::string& dump, const std::string& to_sql = "") {
    return std::make_unique<PgDumpStream>(
        PgDumpCommand{.dump = shell(dump),
                      .to_sql = to_sql.empty() ? std::vector<std::string>{}
                                               : shell(to_sql),
                      .kind = DumpTextKind::database},
        [this] {
          return repo::Timestamp{++ticks, 0};
        });
  }

  static std::string read_all(PgDumpStream& stream, std::stop_token stop = {}) {
    Bytes room(100'000);
    std::string all;
    while (const std::size_t size = stream.read(room, stop)) {
      all += text_of(std::span(room).first(size));
    }
    stream.finish(stop);
    return all;
  }

  static std::string failure_of(PgDumpStream& stream) {
    try {
      (void)read_all(stream);
    } catch (const ProducerFailed& e) {
      EXPECT_FALSE(stream.ended());
      return e.what();
    }
    return "";
  }

  TempFolder folder;
  std::int64_t ticks = 0;
};

TEST_F(DumpStream, GivesSqlAndCountsIt) {
  const auto dump = stream(print("whole"));
  EXPECT_FALSE(dump->began());

  EXPECT_EQ(read_all(*dump), kDump);
  EXPECT_EQ(dump->tables(), (std::vector<TableInDump>{{"public", "t", 2, 4}}));
  EXPECT_EQ(dump->began(), (repo::Timestamp{1, 0}));
  EXPECT_EQ(dump->ended(), (repo::Timestamp{2, 0}));
  EXPECT_EQ(dump->warnings(), "");
}

TEST_F(DumpStream, GivesAnArchiveAndCountsWhatIsInIt) {
  const auto dump = stream(print("whole") + " | tr a-z A-Z",
                           print("whole") + "; cat >/dev/null");

  EXPECT_NE(read_all(*dump).find("COPY PUBLIC.T"), std::string::npos);
  EXPECT_EQ(dump->row_count(), 2U);
  EXPECT_EQ(dump->table_count(), 1U);
  EXPECT_TRUE(dump->ended());
}

TEST_F(DumpStream, FailsWithWhatTheProgramSaid) {
  const auto dump =
      stream(print("whole") + "; printf 'a\\n\\tb\\n' >&2; exit 3");

  EXPECT_EQ(failure_of(*dump), "/bin/sh: exited with 3: a;  b");
}

TEST_F(DumpStream, TellsWhatAProgramSaidThatDidNotFail) {
  const auto dump = stream(print("whole") + "; echo 'circular keys' >&2");
  (void)read_all(*dump);

  EXPECT_EQ(dump->warnings(), "circular keys");
}

TEST_F(DumpStream, FailsWhenTheSqlIsCutAlthoughItsProgramIsContent) {
  EXPECT_EQ(failure_of(*stream(print("cut"))),
            "what was dumped is not whole: it ends in the middle of the data "
            "of table public.t");
  EXPECT_EQ(failure_of(*stream("true")).find("what was dumped is not whole"),
            0U);
  EXPECT_EQ(failure_of(*stream("echo nonsense"))
                .find("what was dumped is not whole: it does not begin"),
            0U);
}

TEST_F(DumpStream, FailsWhenTheCheckDoesAtTheEnd) {
  const auto dump = stream("echo archive",
                           "cat >/dev/null; echo torn >&2; "
                           "exit 1");
  EXPECT_EQ(failure_of(*dump),
            "what was dumped is not whole: /bin/sh: exited with 1: torn");
}

// The rest is not waited for.
TEST_F(DumpStream, FailsWhenTheCheckDoesInTheMiddle) {
  const auto dump = stream("yes", "head -c 100 >/dev/null; exit 4");

  EXPECT_EQ(failure_of(*dump),
            "what was dumped is not whole: /bin/sh: exited with 4");
}

TEST_F(DumpStream, FailsWhenTheCheckDoesNotReadToTheEnd) {
  const auto dump = stream("yes", print("whole"));

  EXPECT_EQ(failure_of(*dump),
            "what was dumped is not whole: bytes follow its end");
}

TEST_F(DumpStream, FailsWhenTheArchiveHoldsNoWholeDump) {
  EXPECT_EQ(
      failure_of(*stream("echo archive", "cat >/dev/null; " + print("cut"))),
      "what was dumped is not whole: it ends in the middle of the data of "
      "table public.t");
}

// Nobody waits for somebody who waits: more is written than any pipe holds.
TEST_F(DumpStream, ReadsSqlThatIsOfNoUseToItsEnd) {
  constexpr const char* kMuch = "yes | head -c 20000000";
  const auto dump = stream(kMuch, std::string(kMuch) + "; cat >/dev/null");

  EXPECT_EQ(failure_of(*dump).find("what was dumped is not whole: it does not "
                                   "begin"),
            0U);
}

TEST_F(DumpStream, FailsWhenItsProgramIsNotThere) {
  PgDumpStream dump({.dump = {"/no/such/pg_dump"}, .to_sql = {}},
                    [] { return repo::Timestamp{}; });
  EXPECT_EQ(failure_of(dump).find("/no/such/pg_dump: cannot start"), 0U);

  PgDumpStream check({.dump = shell("sleep 20"), .to_sql = {"/no/pg_restore"}},
                     [] { return repo::Timestamp{}; });
  EXPECT_EQ(failure_of(check).find("/no/pg_restore: cannot start"), 0U);
}

TEST_F(DumpStream, StopsWhileItWaits) {
  for (const char* const to_sql : {"", "sleep 20"}) {
    std::stop_source stop;
    const auto dump = stream("sleep 20", to_sql);
    const std::jthread asker([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      stop.request_stop();
    });

    EXPECT_THROW((void)read_all(*dump, stop.get_token()), repo::Cancelled);
  }
}

// To a check that reads nothing.
TEST_F(DumpStream, StopsWhileItWrites) {
  std::stop_source stop;
  const auto dump = stream("yes", "sleep 20");
  Bytes room(1'000'000);
  const std::jthread asker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });

  EXPECT_THROW(
      {
        for (;;) (void)dump->read(room, stop.get_token());
      },
      repo::Cancelled);
}

}  // namespace
}  // namespace cairn::ingest
