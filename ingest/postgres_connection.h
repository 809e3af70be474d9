// A connection to a PostgreSQL server, for plain SQL and for the replication
// protocol (PostgreSQL manual, "Frontend/Backend Protocol", "Streaming
// Replication Protocol"): the simple query protocol alone, which is all that a
// walsender speaks.
//
//   connect --> send --> next_result --> rows, rows, .., nothing
//                             |
//                             +--> copy_out: receive .. receive, next_result ..
//                             +--> copy_both: receive and send_copy ..,
//                             end_copy
//
// Nothing here waits longer than some 100 ms without looking at its stop_token.
//
// Threads        one thread at a time.
// Failure        PostgresError, repo::Cancelled when `stop` is requested; a
//                connection that threw Cancelled is of no more use.
// Abandonment    destroyed at any time, it hangs up, and the server gives up
//                what it was asked for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ingest/byte_stream.h"

namespace cairn::ingest {

// The server refused or cannot be reached: the source is unavailable.
class PostgresError : public ProducerFailed {
 public:
  enum class Connection { usable, lost };

  PostgresError(const std::string& what, std::string sqlstate,
                Connection connection)
      : ProducerFailed(what),
        sqlstate_(std::move(sqlstate)),
        connection_(connection) {}

  // Five characters (PostgreSQL manual, appendix A); empty: the failure is not
  // the server's word.
  [[nodiscard]] const std::string& sqlstate() const noexcept {
    return sqlstate_;
  }
  [[nodiscard]] bool has_lost_connection() const noexcept {
    return connection_ == Connection::lost;
  }

 private:
  std::string sqlstate_;
  Connection connection_;
};

// What the server said beside its answers.
struct PostgresNotice {
  std::string severity;  // "WARNING", not in the server's language
  std::string sqlstate;
  std::string text;
};

struct PostgresResult {
  enum class Kind {
    rows,       // of a query
    command,    // done, without rows
    copy_out,   // receive() gives its messages
    copy_in,    // the server has ended its half of a copy_both: end_copy()
    copy_both,  // receive() and send_copy()
  };
  using Row = std::vector<std::optional<std::string>>;  // nothing: NULL

  Kind kind = Kind::command;
  std::vector<std::string> columns;
  std::vector<Row> rows;
};

class PostgresConnection {
 public:
  enum class Mode {
    ordinary,     // SQL in one database
    replication,  // of a walsender; SQL too, where has_sql()
  };

  struct Options {
    // A URI or key=value pairs as libpq takes them; what it does not say comes
    // from a service file, PG* variables and the password file. Empty: all of
    // it does.
    std::string dsn;
    Mode mode = Mode::ordinary;
    std::string application_name = "cairn";
    // Beats that of the password file and of PGPASSWORD. Empty: none.
    std::string_view password = {};
  };

  // Connects; in Mode::replication to a database, so that SQL can be asked too
  // and an ordinary line of pg_hba.conf admits us, else, if that is refused,
  // without one. Where nothing names a database that is "postgres".
  //
  // Throws std::invalid_argument for a DSN that is none or that holds a
  // password: others on the machine could see it. No message shows the DSN.
  [[nodiscard]] static PostgresConnection connect(const Options& options,
                                                  const std::stop_token& stop);

  PostgresConnection(PostgresConnection&&) noexcept;
  PostgresConnection& operator=(PostgresConnection&&) noexcept;
  ~PostgresConnection();

  // "socket /run/postgresql/.s.PGSQL.5432", "db.example:5432": for messages.
  [[nodiscard]] std::string place() const;
  // Of the form 150018.
  [[nodiscard]] int server_version() const noexcept;
  [[nodiscard]] int major_version() const noexcept {
    return server_version() / 10000;
  }
  // False: a walsender without a database, which knows replication commands and
  // SHOW alone.
  [[nodiscard]] bool has_sql() const noexcept;

  // As a string constant of SQL and of replication commands, with its quotes.
  [[nodiscard]] std::string literal(std::string_view text) const;
  // As a name, with its quotes: of a slot, say.
  [[nodiscard]] std::string identifier(std::string_view name) const;

  // ---- a command that is answered at once

  // Sends it, reads all results, and answers the rows of the last one that has
  // any; at most kMaxAnswerBytes of them. Requires: it begins no COPY.
  std::vector<PostgresResult::Row> query(std::string_view command,
                                         const std::stop_token& stop);

  // The same, of one row with one column that is not NULL.
  [[nodiscard]] std::string value(std::string_view command,
                                  const std::stop_token& stop);

  static constexpr std::size_t kMaxAnswerBytes = std::size_t{64} << 20;

  // ---- a command with several results

  // Requires: next_result() has answered nothing since the last one, or thrown.
  void send(std::string_view command, const std::stop_token& stop);

  // The next one; nothing: that were all. An error is thrown in its place, and
  // where the connection is still usable, further results follow.
  [[nodiscard]] std::optional<PostgresResult> next_result(
      const std::stop_token& stop);

  struct Received {
    enum class Kind {
      message,
      timed_out,
      ended,  // the server's half of the COPY: next_result() says how
    };
    Kind kind = Kind::ended;
    std::span<const std::byte> message;  // until the next call of any member
  };

  // The next message of a COPY. Waits as long as `timeout`, for ever without.
  [[nodiscard]] Received receive(
      const std::stop_token& stop,
      std::optional<std::chrono::milliseconds> timeout = std::nullopt);

  // One message to the server, in copy_both.
  void send_copy(std::span<const std::byte> message,
                 const std::stop_token& stop);

  // Ends our half of it. What the server still sends comes from receive() until
  // that has ended, too, and then from next_result().
  void end_copy(const std::stop_token& stop);

  // Those since the last call, the first kMaxNotices of them.
  [[nodiscard]] std::vector<PostgresNotice> take_notices();
  static constexpr std::size_t kMaxNotices = 1000;

 private:
  struct State;
  static std::string place_of(const State& state);
  explicit PostgresConnection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::ingest
