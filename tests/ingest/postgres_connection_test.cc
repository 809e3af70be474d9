// Against a real server, which is started once for all of them.
#include "ingest/postgres_connection.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "repo/error.h"
#include "tests/support/throwaway_postgres.h"

namespace cairn::ingest {
namespace {

using testing_support::ThrowawayPostgres;
using Kind = PostgresResult::Kind;
using Mode = PostgresConnection::Mode;

class PostgresConnectionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (ThrowawayPostgres::is_installed()) {
      server = std::make_unique<ThrowawayPostgres>();
      connect().query("ALTER ROLE postgres PASSWORD 'tr0ub4dor'", {});
    }
  }
  static void TearDownTestSuite() { server.reset(); }

  void SetUp() override {
    if (!server) GTEST_SKIP() << "PostgreSQL 15 is not installed";
  }

  static PostgresConnection connect(Mode mode = Mode::ordinary) {
    return PostgresConnection::connect({.dsn = server->dsn(), .mode = mode},
                                       {});
  }

  static std::unique_ptr<ThrowawayPostgres> server;
};

std::unique_ptr<ThrowawayPostgres> PostgresConnectionTest::server;

template <typename Step>
std::string failure_of(Step step) {
  try {
    step();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no failure";
}

TEST(PostgresDsn, MayNotHoldAPassword) {
  for (const char* const dsn :
       {"host=/nowhere password=tr0ub4dor", "postgresql://u:tr0ub4dor@h/db",
        "host=/nowhere sslpassword=tr0ub4dor"}) {
    EXPECT_THROW((void)PostgresConnection::connect({.dsn = dsn}, {}),
                 std::invalid_argument);
    const auto what = failure_of(
        [&] { (void)PostgresConnection::connect({.dsn = dsn}, {}); });
    EXPECT_EQ(what.find("tr0ub4dor"), std::string::npos) << what;
    EXPECT_NE(what.find("PGPASSWORD"), std::string::npos) << what;
  }
}

TEST(PostgresDsn, IsNotRepeatedWhereItIsNone) {
  for (const char* const dsn : {"postgresql://u:tr0ub4dor@h:x y/db",
                                "tr0ub4dor", "pasword=tr0ub4dor"}) {
    EXPECT_THROW((void)PostgresConnection::connect({.dsn = dsn}, {}),
                 std::invalid_argument);
    const auto what = failure_of(
        [&] { (void)PostgresConnection::connect({.dsn = dsn}, {}); });
    EXPECT_EQ(what.find("tr0ub4dor"), std::string::npos) << what;
  }
}

TEST(PostgresDsn, OfNoServerNamesThePlaceThatDoesNotAnswer) {
  const auto what = failure_of([] {
    (void)PostgresConnection::connect({.dsn = "host=/nowhere port=1"}, {});
  });
  EXPECT_NE(what.find("/nowhere/.s.PGSQL.1"), std::string::npos) << what;
}

TEST_F(PostgresConnectionTest, AnswersWithRowsAndKnowsNull) {
  auto connection = connect();
  const auto rows = connection.query("SELECT 1, NULL, ''", {});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0], (PostgresResult::Row{"1", std::nullopt, std::string()}));
  EXPECT_EQ(connection.value("SHOW server_version_num", {}),
            std::to_string(connection.server_version()));
  EXPECT_EQ(connection.major_version(), 15);
  EXPECT_NE(connection.place().find(".s.PGSQL."), std::string::npos);
}

TEST_F(PostgresConnectionTest, QuotesWhatItIsGiven) {
  auto connection = connect();
  const std::string odd = "it's \\ \"odd\"";
  EXPECT_EQ(connection.value("SELECT " + connection.literal(odd), {}), odd);
  EXPECT_EQ(connection.identifier("a\"b"), "\"a\"\"b\"");
}

TEST_F(PostgresConnectionTest, SaysWhichErrorItWasAndIsOfUseAfterIt) {
  auto connection = connect();
  try {
    connection.query("SELECT 1/0", {});
    FAIL();
  } catch (const PostgresError& e) {
    EXPECT_EQ(e.sqlstate(), "22012");
    EXPECT_FALSE(e.has_lost_connection());
    EXPECT_STREQ(e.what(), "PostgreSQL: ERROR: division by zero");
  }
  EXPECT_EQ(connection.value("SELECT 2", {}), "2");
}

// What it made of it is in a sequence, which no transaction takes back.
TEST_F(PostgresConnectionTest, StopsReadingAnAnswerThatIsTooLong) {
  connect().query("CREATE SEQUENCE sent", {});

  const auto what = failure_of([] {
    connect().query(
        "SELECT nextval('sent'), repeat('x', 1048576) "
        "FROM generate_series(1, 400)",
        {});
  });
  EXPECT_NE(what.find("too long"), std::string::npos) << what;
  const auto sent = connect().value("SELECT last_value FROM sent", {});
  EXPECT_LT(std::stoi(sent), 200);
}

TEST_F(PostgresConnectionTest, KeepsWhatTheServerNotes) {
  auto connection = connect();
  connection.query("DO $$BEGIN RAISE WARNING 'beware'; END$$", {});
  const auto notices = connection.take_notices();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].severity, "WARNING");
  EXPECT_EQ(notices[0].sqlstate, "01000");
  EXPECT_EQ(notices[0].text, "beware");
  EXPECT_TRUE(connection.take_notices().empty());
}

TEST_F(PostgresConnectionTest, ReadsACopyMessageByMessage) {
  auto connection = connect();
  connection.send("COPY (SELECT generate_series(1, 3)) TO STDOUT", {});
  ASSERT_EQ(connection.next_result({})->kind, Kind::copy_out);
  std::string text;
  for (;;) {
    const auto received = connection.receive({});
    if (received.kind == PostgresConnection::Received::Kind::ended) break;
    for (const auto byte : received.message) {
      text += static_cast<char>(byte);
    }
  }
  EXPECT_EQ(text, "1\n2\n3\n");
  EXPECT_EQ(connection.next_result({})->kind, Kind::command);
  EXPECT_FALSE(connection.next_result({}));
}

TEST_F(PostgresConnectionTest, OfAWalsenderKnowsCommandsAndSql) {
  auto connection = connect(Mode::replication);
  EXPECT_TRUE(connection.has_sql());
  const auto system = connection.query("IDENTIFY_SYSTEM", {});
  ASSERT_EQ(system.size(), 1U);
  EXPECT_EQ(system[0][1], "1");  // the timeline
  EXPECT_EQ(connection.value("SELECT system_identifier::text FROM "
                             "pg_control_system()",
                             {}),
            *system[0][0]);
}

TEST_F(PostgresConnectionTest, OfAWalsenderDoesWithoutADatabaseThatRefuses) {
  auto connection = PostgresConnection::connect(
      {.dsn = server->dsn() + " dbname=nowhere", .mode = Mode::replication},
      {});
  EXPECT_FALSE(connection.has_sql());
  EXPECT_EQ(connection.query("IDENTIFY_SYSTEM", {}).size(), 1U);
}

TEST_F(PostgresConnectionTest, StreamsWalBothWays) {
  auto connection = connect(Mode::replication);
  const auto system = connection.query("IDENTIFY_SYSTEM", {});
  const std::string position = *system[0][2];
  connection.send("START_REPLICATION PHYSICAL " + position + " TIMELINE 1", {});
  ASSERT_EQ(connection.next_result({})->kind, Kind::copy_both);
  auto other = connect();
  other.query("SELECT pg_logical_emit_message(true, 'x', 'y')", {});
  other.query("CREATE TABLE t AS SELECT 1", {});
  bool has_wal = false;
  while (!has_wal) {
    const auto received = connection.receive({}, std::chrono::seconds(10));
    ASSERT_EQ(received.kind, PostgresConnection::Received::Kind::message);
    has_wal = received.message[0] == std::byte{'w'};
  }
  // A status that asks for an answer gets one.
  std::array<std::byte, 34> status{};
  status[0] = std::byte{'r'};
  status[33] = std::byte{1};
  connection.send_copy(status, {});
  for (;;) {
    const auto received = connection.receive({}, std::chrono::seconds(10));
    ASSERT_EQ(received.kind, PostgresConnection::Received::Kind::message);
    if (received.message[0] == std::byte{'k'}) break;
  }
  connection.end_copy({});
  while (connection.receive({}, std::chrono::seconds(10)).kind ==
         PostgresConnection::Received::Kind::message) {
  }
  while (connection.next_result({})) {
  }
  EXPECT_EQ(connection.query("IDENTIFY_SYSTEM", {}).size(), 1U);
}

TEST_F(PostgresConnectionTest, WaitsForAMessageOnlySoLong) {
  auto connection = connect(Mode::replication);
  const auto system = connection.query("IDENTIFY_SYSTEM", {});
  connection.send("START_REPLICATION PHYSICAL " + *system[0][2], {});
  ASSERT_EQ(connection.next_result({})->kind, Kind::copy_both);
  PostgresConnection::Received received;
  do {  // there may be a keepalive
    received = connection.receive({}, std::chrono::milliseconds(300));
  } while (received.kind == PostgresConnection::Received::Kind::message);
  EXPECT_EQ(received.kind, PostgresConnection::Received::Kind::timed_out);
}

TEST_F(PostgresConnectionTest, IsStoppedWhileItWaits) {
  auto connection = connect();
  std::stop_source stop;
  const std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    stop.request_stop();
  });
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THROW(connection.query("SELECT pg_sleep(60)", stop.get_token()),
               repo::Cancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

TEST_F(PostgresConnectionTest, TellsThatItWasLost) {
  auto connection = connect();
  const auto pid = connection.value("SELECT pg_backend_pid()", {});
  connect().query("SELECT pg_terminate_backend(" + pid + ")", {});
  try {
    connection.query("SELECT pg_sleep(60)", {});
    FAIL();
  } catch (const PostgresError& e) {
    EXPECT_TRUE(e.has_lost_connection()) << e.what();
  }
}

TEST_F(PostgresConnectionTest, TakesAPasswordThatIsNotInTheDsn) {
  auto connection = PostgresConnection::connect(
      {.dsn = server->tcp_dsn(), .password = "tr0ub4dor"}, {});
  EXPECT_EQ(connection.value("SELECT 1", {}), "1");
  EXPECT_EQ(connection.place().rfind("127.0.0.1:", 0), 0U);
}

TEST_F(PostgresConnectionTest, RefusesAWrongPasswordWithoutShowingIt) {
  try {
    (void)PostgresConnection::connect(
        {.dsn = server->tcp_dsn(), .password = "tr0ub4dour"}, {});
    FAIL();
  } catch (const PostgresError& e) {
    EXPECT_EQ(e.sqlstate(), "28P01");
    const std::string what = e.what();
    EXPECT_EQ(what.find("tr0ub4dour"), std::string::npos) << what;
    EXPECT_NE(what.find("FATAL: password authentication failed"),
              std::string::npos)
        << what;
    EXPECT_NE(what.find("password file"), std::string::npos) << what;
    EXPECT_EQ(what.find("LOCATION"), std::string::npos) << what;
  }
}

TEST_F(PostgresConnectionTest, SaysWhatARoleLacks) {
  auto connection = connect();
  connection.query("CREATE ROLE plain LOGIN", {});
  try {
    (void)PostgresConnection::connect(
        {.dsn = server->dsn() + " user=plain", .mode = Mode::replication}, {});
    FAIL();
  } catch (const PostgresError& e) {
    EXPECT_EQ(e.sqlstate(), "42501");
    EXPECT_NE(std::string(e.what()).find("ALTER ROLE"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace cairn::ingest
