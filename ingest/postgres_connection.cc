#include "ingest/postgres_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "ingest/late_library.h"
#include "ingest/postgres_refusal.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

using Clock = std::chrono::steady_clock;

// How long anything waits before it looks whether it should stop.
constexpr std::chrono::milliseconds kPatience{100};

// For a server that nobody said otherwise of (connect_timeout).
constexpr std::chrono::seconds kConnectTimeout{30};

class Libpq : LateLibrary {
 public:
  Libpq()
      : LateLibrary("libpq.so.5",
                    "PostgreSQL's client library cannot be loaded; install "
                    "Debian's libpq5") {}

  // As libpq calls them. NOLINTBEGIN(readability-identifier-naming)
  decltype(&::PQclear) PQclear = find("PQclear");
  decltype(&::PQconndefaults) PQconndefaults = find("PQconndefaults");
  decltype(&::PQconnectPoll) PQconnectPoll = find("PQconnectPoll");
  decltype(&::PQconnectStartParams) PQconnectStartParams =
      find("PQconnectStartParams");
  decltype(&::PQconninfo) PQconninfo = find("PQconninfo");
  decltype(&::PQconninfoFree) PQconninfoFree = find("PQconninfoFree");
  decltype(&::PQconninfoParse) PQconninfoParse = find("PQconninfoParse");
  decltype(&::PQconsumeInput) PQconsumeInput = find("PQconsumeInput");
  decltype(&::PQerrorMessage) PQerrorMessage = find("PQerrorMessage");
  decltype(&::PQescapeIdentifier) PQescapeIdentifier =
      find("PQescapeIdentifier");
  decltype(&::PQescapeLiteral) PQescapeLiteral = find("PQescapeLiteral");
  decltype(&::PQfinish) PQfinish = find("PQfinish");
  decltype(&::PQflush) PQflush = find("PQflush");
  decltype(&::PQfname) PQfname = find("PQfname");
  decltype(&::PQfreemem) PQfreemem = find("PQfreemem");
  decltype(&::PQgetCopyData) PQgetCopyData = find("PQgetCopyData");
  decltype(&::PQgetResult) PQgetResult = find("PQgetResult");
  decltype(&::PQgetisnull) PQgetisnull = find("PQgetisnull");
  decltype(&::PQgetlength) PQgetlength = find("PQgetlength");
  decltype(&::PQgetvalue) PQgetvalue = find("PQgetvalue");
  decltype(&::PQhost) PQhost = find("PQhost");
  decltype(&::PQisBusy) PQisBusy = find("PQisBusy");
  decltype(&::PQnfields) PQnfields = find("PQnfields");
  decltype(&::PQntuples) PQntuples = find("PQntuples");
  decltype(&::PQport) PQport = find("PQport");
  decltype(&::PQputCopyData) PQputCopyData = find("PQputCopyData");
  decltype(&::PQputCopyEnd) PQputCopyEnd = find("PQputCopyEnd");
  decltype(&::PQresultErrorField) PQresultErrorField =
      find("PQresultErrorField");
  decltype(&::PQresultStatus) PQresultStatus = find("PQresultStatus");
  decltype(&::PQsendQuery) PQsendQuery = find("PQsendQuery");
  decltype(&::PQserverVersion) PQserverVersion = find("PQserverVersion");
  decltype(&::PQsetErrorVerbosity) PQsetErrorVerbosity =
      find("PQsetErrorVerbosity");
  decltype(&::PQsetNoticeReceiver) PQsetNoticeReceiver =
      find("PQsetNoticeReceiver");
  decltype(&::PQsetSingleRowMode) PQsetSingleRowMode =
      find("PQsetSingleRowMode");
  decltype(&::PQsetnonblocking) PQsetnonblocking = find("PQsetnonblocking");
  decltype(&::PQsocket) PQsocket = find("PQsocket");
  decltype(&::PQstatus) PQstatus = find("PQstatus");
  // NOLINTEND(readability-identifier-naming)
};

// Throws ProducerFailed where it is not installed.
const Libpq& pq() {
  static const Libpq libpq;
  return libpq;
}

struct Finish {
  void operator()(PGconn* connection) const { pq().PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const { pq().PQclear(result); }
};
struct FreeMemory {
  void operator()(void* memory) const { pq().PQfreemem(memory); }
};
struct FreeOptions {
  void operator()(PQconninfoOption* options) const {
    pq().PQconninfoFree(options);
  }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using Result = std::unique_ptr<PGresult, Clear>;
using ConnectionInfo = std::unique_ptr<PQconninfoOption, FreeOptions>;

// Empty: it is not set.
std::string_view option(const ConnectionInfo& info, std::string_view keyword) {
  for (const auto* one = info.get(); one != nullptr && one->keyword != nullptr;
       ++one) {
    if (one->keyword == keyword && one->val != nullptr) return one->val;
  }
  return {};
}

ConnectionInfo parse_dsn(const std::string& dsn) {
  if (dsn.find('\0') != std::string::npos) {
    throw std::invalid_argument("the DSN holds a NUL byte");
  }
  char* why = nullptr;
  ConnectionInfo info(pq().PQconninfoParse(dsn.c_str(), &why));
  const std::unique_ptr<char, FreeMemory> owned(why);
  if (!info) {  // libpq's reason quotes the DSN, and with it a password
    throw std::invalid_argument(
        "the DSN is neither a URI such as postgresql://user@host:5432/db nor "
        "key=value pairs that libpq knows");
  }
  for (const std::string_view secret : {"password", "sslpassword"}) {
    if (!option(info, secret).empty()) {
      throw std::invalid_argument(
          "the DSN holds a password, which others on this machine can see in "
          "the list of processes; change it, and " +
          std::string(kPasswordAdvice));
    }
  }
  return info;
}

// Where nobody names one, libpq takes the user's name, and few servers have
// such a database.
bool names_database(const ConnectionInfo& given) {
  if (!option(given, "dbname").empty() || !option(given, "service").empty()) {
    return true;
  }
  const ConnectionInfo usual(pq().PQconndefaults());
  return !option(usual, "service").empty() || !option(usual, "dbname").empty();
}

std::string without_end_of_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

// Answers how many bytes of memory they take, roughly.
std::size_t add_rows(PostgresResult& answer, const PGresult* result) {
  const int columns = pq().PQnfields(result);
  const int rows = pq().PQntuples(result);
  if (answer.columns.empty()) {
    for (int column = 0; column < columns; ++column) {
      answer.columns.emplace_back(pq().PQfname(result, column));
    }
  }
  std::size_t bytes = 0;
  for (int row = 0; row < rows; ++row) {
    auto& values = answer.rows.emplace_back();
    bytes += sizeof(values);
    for (int column = 0; column < columns; ++column) {
      bytes += sizeof(values.front());
      if (pq().PQgetisnull(result, row, column) != 0) {
        values.emplace_back();
        continue;
      }
      const auto size =
          static_cast<std::size_t>(pq().PQgetlength(result, row, column));
      bytes += size;
      values.emplace_back(std::in_place, pq().PQgetvalue(result, row, column),
                          size);
    }
  }
  return bytes;
}

std::string field(const PGresult* result, int code) {
  const char* const text = pq().PQresultErrorField(result, code);
  return text == nullptr ? std::string() : std::string(text);
}

}  // namespace

struct PostgresConnection::State {
  Connection connection;
  bool has_sql = true;
  std::unique_ptr<char, FreeMemory> message;  // that receive() gave last
  std::vector<PostgresNotice> notices;

  [[nodiscard]] PGconn* get() const { return connection.get(); }

  static void notice(void* state, const PGresult* result) {
    auto& notices = static_cast<State*>(state)->notices;
    if (notices.size() >= kMaxNotices) return;
    notices.push_back({field(result, PG_DIAG_SEVERITY_NONLOCALIZED),
                       field(result, PG_DIAG_SQLSTATE),
                       field(result, PG_DIAG_MESSAGE_PRIMARY)});
  }

  // Returns when the socket is ready or `deadline` has come, whichever is
  // first, and after kPatience at the latest. False: not ready.
  bool wait(short events, const std::stop_token& stop,
            std::optional<Clock::time_point> deadline = std::nullopt) const {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    auto patience = kPatience;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          *deadline - Clock::now());
      patience = std::clamp(left, std::chrono::milliseconds(0), kPatience);
    }
    pollfd ready{pq().PQsocket(get()), events, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(patience.count()));
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    return count > 0;
  }

  // What is left in libpq's buffer, to the server. Reads meanwhile, since a
  // server that waits for us to read does not read either.
  void flush(const std::stop_token& stop) const {
    for (;;) {
      const int left = pq().PQflush(get());
      if (left < 0) fail();
      if (left == 0) return;
      if (wait(POLLIN | POLLOUT, stop) && pq().PQconsumeInput(get()) == 0)
        fail();
    }
  }

  void read_some(const std::stop_token& stop,
                 std::optional<Clock::time_point> deadline) const {
    if (wait(POLLIN, stop, deadline) && pq().PQconsumeInput(get()) == 0) fail();
  }

  // For what libpq itself found wrong.
  [[noreturn]] void fail() const {
    auto text = without_end_of_line(pq().PQerrorMessage(get()));
    if (text.empty()) text = "the connection was lost";
    const bool is_lost = pq().PQstatus(get()) != CONNECTION_OK;
    throw PostgresError("PostgreSQL: " + text, "",
                        is_lost ? PostgresError::Connection::lost
                                : PostgresError::Connection::usable);
  }

  [[noreturn]] void fail(const PGresult* result) const {
    const auto sqlstate = field(result, PG_DIAG_SQLSTATE);
    if (sqlstate.empty()) fail();
    auto text = field(result, PG_DIAG_SEVERITY) + ": " +
                field(result, PG_DIAG_MESSAGE_PRIMARY);
    const auto detail = field(result, PG_DIAG_MESSAGE_DETAIL);
    if (!detail.empty()) text += " (" + detail + ")";
    const auto hint = field(result, PG_DIAG_MESSAGE_HINT);
    if (!hint.empty()) text += "; " + hint;
    const bool is_lost = pq().PQstatus(get()) != CONNECTION_OK;
    throw PostgresError(
        "PostgreSQL: " + with_advice(without_end_of_line(text), sqlstate),
        sqlstate,
        is_lost ? PostgresError::Connection::lost
                : PostgresError::Connection::usable);
  }
};

namespace {

// Keywords and values as libpq wants them; later ones win, an expanded DSN
// among them.
class Parameters {
 public:
  void add(const char* keyword, std::string value) {
    keywords_.push_back(keyword);
    values_.push_back(std::move(value));
  }

  [[nodiscard]] Connection start() const {
    constexpr int kExpandDsn = 1;
    std::vector<const char*> keywords = keywords_;
    std::vector<const char*> values;
    for (const auto& value : values_) values.push_back(value.c_str());
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    Connection connection(
        pq().PQconnectStartParams(keywords.data(), values.data(), kExpandDsn));
    if (!connection) throw std::bad_alloc();
    return connection;
  }

 private:
  std::vector<const char*> keywords_;
  std::vector<std::string> values_;
};

std::chrono::seconds connect_timeout(const PGconn* connection) {
  const ConnectionInfo info(pq().PQconninfo(const_cast<PGconn*>(connection)));
  const std::string given(option(info, "connect_timeout"));
  const long seconds =
      given.empty() ? 0 : std::strtol(given.c_str(), nullptr, 10);
  return seconds > 0 ? std::chrono::seconds(seconds) : kConnectTimeout;
}

}  // namespace

PostgresConnection PostgresConnection::connect(const Options& options,
                                               const std::stop_token& stop) {
  const auto given = parse_dsn(options.dsn);
  const bool is_replication = options.mode == Mode::replication;

  // Nothing: connected. Else why not.
  const auto attempt = [&](State& state,
                           const char* replication) -> std::optional<Refusal> {
    Parameters parameters;
    // A peer that is gone without a word is noticed within minutes.
    parameters.add("keepalives_idle", "30");
    parameters.add("keepalives_interval", "10");
    parameters.add("keepalives_count", "6");
    parameters.add("dbname", options.dsn);
    if (!names_database(given)) parameters.add("dbname", "postgres");
    parameters.add("fallback_application_name", options.application_name);
    if (!options.password.empty()) {
      parameters.add("password", std::string(options.password));
    }
    if (replication != nullptr) parameters.add("replication", replication);
    state.connection = parameters.start();
    PGconn* const connection = state.get();
    pq().PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
    pq().PQsetNoticeReceiver(connection, &State::notice, &state);
    const auto timeout = connect_timeout(connection);
    const auto deadline = Clock::now() + timeout;
    // What libpq wants to hear of first, says its manual.
    auto next = pq().PQstatus(connection) == CONNECTION_BAD
                    ? PGRES_POLLING_FAILED
                    : PGRES_POLLING_WRITING;
    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
      const short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
      if (state.wait(events, stop, deadline)) {
        next = pq().PQconnectPoll(connection);
      } else if (Clock::now() >= deadline) {
        return Refusal{"no answer from " + PostgresConnection::place_of(state) +
                           " within " + std::to_string(timeout.count()) + " s",
                       ""};
      }
    }
    if (next == PGRES_POLLING_OK) {
      pq().PQsetErrorVerbosity(connection, PQERRORS_DEFAULT);
      return std::nullopt;
    }
    return read_refusal(pq().PQerrorMessage(connection));
  };

  auto state = std::make_unique<State>();
  auto refusal = attempt(*state, is_replication ? "database" : nullptr);
  if (refusal && is_replication &&
      may_be_admitted_without_database(refusal->sqlstate)) {
    auto other = std::make_unique<State>();
    if (!attempt(*other, "true")) {
      state = std::move(other);
      state->has_sql = false;
      refusal.reset();
    }
  }
  if (refusal) {
    throw PostgresError(
        "PostgreSQL: " + with_advice(refusal->text, refusal->sqlstate),
        refusal->sqlstate, PostgresError::Connection::lost);
  }
  if (pq().PQsetnonblocking(state->get(), 1) != 0) state->fail();
  return PostgresConnection(std::move(state));
}

PostgresConnection::PostgresConnection(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
PostgresConnection::PostgresConnection(PostgresConnection&&) noexcept = default;
PostgresConnection& PostgresConnection::operator=(
    PostgresConnection&&) noexcept = default;
PostgresConnection::~PostgresConnection() = default;

std::string PostgresConnection::place() const { return place_of(*state_); }

std::string PostgresConnection::place_of(const State& state) {
  const auto text = [](const char* given) {
    return given == nullptr ? std::string() : std::string(given);
  };
  const auto host = text(pq().PQhost(state.get()));
  const auto port = text(pq().PQport(state.get()));
  if (host.starts_with('/')) return "socket " + host + "/.s.PGSQL." + port;
  return host + ":" + port;
}

int PostgresConnection::server_version() const noexcept {
  return pq().PQserverVersion(state_->get());
}

bool PostgresConnection::has_sql() const noexcept { return state_->has_sql; }

std::string PostgresConnection::literal(std::string_view text) const {
  const std::unique_ptr<char, FreeMemory> quoted(
      pq().PQescapeLiteral(state_->get(), text.data(), text.size()));
  if (!quoted) state_->fail();
  return quoted.get();
}

std::string PostgresConnection::identifier(std::string_view name) const {
  const std::unique_ptr<char, FreeMemory> quoted(
      pq().PQescapeIdentifier(state_->get(), name.data(), name.size()));
  if (!quoted) state_->fail();
  return quoted.get();
}

std::vector<PostgresResult::Row> PostgresConnection::query(
    std::string_view command, const std::stop_token& stop) {
  send(command, stop);
  std::vector<PostgresResult::Row> rows;
  std::optional<PostgresError> failure;
  for (;;) {
    try {
      auto result = next_result(stop);
      if (!result) break;
      if (result->kind == PostgresResult::Kind::rows) {
        rows = std::move(result->rows);
      }
    } catch (const PostgresError& e) {
      if (e.has_lost_connection()) throw;
      if (!failure) failure = e;
    }
  }
  if (failure) throw *failure;
  return rows;
}

std::string PostgresConnection::value(std::string_view command,
                                      const std::stop_token& stop) {
  const auto rows = query(command, stop);
  if (rows.size() != 1 || rows.front().size() != 1 || !rows.front().front()) {
    throw PostgresError("PostgreSQL: '" + std::string(command) +
                            "' was not answered with one value",
                        "", PostgresError::Connection::usable);
  }
  return *rows.front().front();
}

void PostgresConnection::send(std::string_view command,
                              const std::stop_token& stop) {
  state_->message.reset();
  if (pq().PQsendQuery(state_->get(), std::string(command).c_str()) == 0) {
    state_->fail();
  }
  // Or libpq would gather all rows, however many, before we see the first.
  if (pq().PQsetSingleRowMode(state_->get()) == 0) state_->fail();
  state_->flush(stop);
}

std::optional<PostgresResult> PostgresConnection::next_result(
    const std::stop_token& stop) {
  state_->message.reset();
  PGconn* const connection = state_->get();
  PostgresResult answer;
  std::size_t bytes = 0;
  for (;;) {
    while (pq().PQisBusy(connection) != 0) {
      state_->read_some(stop, std::nullopt);
    }
    const Result result(pq().PQgetResult(connection));
    if (!result) return std::nullopt;
    const auto status = pq().PQresultStatus(result.get());
    switch (status) {
      case PGRES_SINGLE_TUPLE:
      case PGRES_TUPLES_OK:
        break;
      case PGRES_EMPTY_QUERY:
      case PGRES_COMMAND_OK:
        answer.kind = PostgresResult::Kind::command;
        return answer;
      case PGRES_COPY_OUT:
        answer.kind = PostgresResult::Kind::copy_out;
        return answer;
      case PGRES_COPY_IN:
        answer.kind = PostgresResult::Kind::copy_in;
        return answer;
      case PGRES_COPY_BOTH:
        answer.kind = PostgresResult::Kind::copy_both;
        return answer;
      default:
        state_->fail(result.get());
    }
    answer.kind = PostgresResult::Kind::rows;
    bytes += add_rows(answer, result.get());
    if (bytes > kMaxAnswerBytes) {
      throw PostgresError("PostgreSQL: an answer is too long", "",
                          PostgresError::Connection::lost);
    }
    if (status == PGRES_TUPLES_OK) return answer;
  }
}

PostgresConnection::Received PostgresConnection::receive(
    const std::stop_token& stop,
    std::optional<std::chrono::milliseconds> timeout) {
  constexpr int kDoNotWait = 1;
  constexpr int kNothingYet = 0;
  constexpr int kEnded = -1;
  state_->message.reset();
  std::optional<Clock::time_point> deadline;
  if (timeout) deadline = Clock::now() + *timeout;
  for (;;) {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    char* message = nullptr;
    const int size = pq().PQgetCopyData(state_->get(), &message, kDoNotWait);
    if (size > 0) {
      state_->message.reset(message);
      return {
          Received::Kind::message,
          std::as_bytes(std::span(message, static_cast<std::size_t>(size)))};
    }
    if (size == kEnded) return {};
    if (size != kNothingYet) state_->fail();
    if (deadline && Clock::now() >= *deadline) {
      return {.kind = Received::Kind::timed_out, .message = {}};
    }
    state_->read_some(stop, deadline);
  }
}

void PostgresConnection::send_copy(std::span<const std::byte> message,
                                   const std::stop_token& stop) {
  state_->message.reset();
  assert(message.size() <= std::size_t{INT32_MAX});
  for (;;) {
    const int done = pq().PQputCopyData(
        state_->get(), reinterpret_cast<const char*>(message.data()),
        static_cast<int>(message.size()));
    if (done < 0) state_->fail();
    if (done > 0) break;
    state_->flush(stop);
  }
  state_->flush(stop);
}

void PostgresConnection::end_copy(const std::stop_token& stop) {
  state_->message.reset();
  for (;;) {
    const int done = pq().PQputCopyEnd(state_->get(), nullptr);
    if (done < 0) state_->fail();
    if (done > 0) break;
    state_->flush(stop);
  }
  state_->flush(stop);
}

std::vector<PostgresNotice> PostgresConnection::take_notices() {
  return std::exchange(state_->notices, {});
}

}  // namespace cairn::ingest
