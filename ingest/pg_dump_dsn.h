// Where a PostgreSQL server is, as its programs are told by --dbname: a
// connection string of libpq in one of its spellings,
//
//   host=db port=5433 user=backup dbname=shop
//   postgresql://backup@db:5433/shop?sslmode=verify-full
//   shop
//
// Everybody on the machine can read the arguments of its processes, so that a
// secret must not be in it.
#pragma once

#include <string>
#include <string_view>

namespace cairn::ingest {

class PgDumpDsn {
 public:
  // `flag` is what it was given by, `usual_database` the one that is asked
  // where neither the text nor a service that it names says which; empty: libpq
  // knows one from the environment. Throws std::invalid_argument, which begins
  // with that and never repeats any of the text: it holds a password, or is no
  // connection string.
  explicit PgDumpDsn(std::string_view text, std::string_view flag = "--dsn",
                     std::string_view usual_database = "postgres");

  // The same server, another database.
  [[nodiscard]] std::string with_database(std::string_view database) const;

  // As given, or with the usual database.
  [[nodiscard]] std::string with_any_database() const;

 private:
  void read_uri();
  void read_keywords();
  void read_keyword(std::string_view key);

  std::string text_;
  std::string usual_database_;
  bool is_uri_ = false;
  bool names_database_ = false;
};

}  // namespace cairn::ingest
