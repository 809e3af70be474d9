// What a PostgreSQL server says of itself and its databases, asked by psql.
//
// Every function throws ProducerFailed when the server does not answer, with
// what psql said, and repo::Cancelled when `stop` is requested.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ingest/pg_questions.h"

namespace cairn::ingest {

struct PgServer {
  int major = 0;
  std::string version;   // "15.18"
  std::string database;  // the one we are connected to
  // Whether the role may read pg_authid, where the passwords are.
  bool may_read_passwords = false;
};

[[nodiscard]] PgServer ask_server(const PgQuestions& questions,
                                  std::stop_token stop);

struct PgDatabase {
  std::string name;
  std::uint64_t bytes = 0;  // 0 too where the role may not know
};

// By name, those that can be connected to, are no templates and were not being
// dropped when the server went down.
[[nodiscard]] std::vector<PgDatabase> ask_databases(
    const PgQuestions& questions, std::stop_token stop);

struct PgTableSize {
  std::string schema;
  std::string name;
  std::uint64_t table_bytes = 0;  // with what is stored out of line
  std::uint64_t total_bytes = 0;  // with the indexes, too
};

// Of the tables and materialised views of the database that the questions go
// to.
[[nodiscard]] std::vector<PgTableSize> ask_table_sizes(
    const PgQuestions& questions, std::stop_token stop);

}  // namespace cairn::ingest
