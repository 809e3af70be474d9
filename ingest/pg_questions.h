// Statements for a PostgreSQL server, which psql has it run.
//
// Every function throws ProducerFailed when the server does not answer or
// refuses, with what psql said, and repo::Cancelled when `stop` is requested.
#pragma once

#include <cstddef>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/pg_dump_programs.h"

namespace cairn::ingest {

// Whom to ask. Borrows nothing.
struct PgQuestions {
  PgPrograms programs;
  std::string dsn;
};

using PgRow = std::vector<std::string>;

// Runs one statement, and answers its rows of so many columns, NULL as an empty
// text. Everybody on the machine can read it in the list of processes.
[[nodiscard]] std::vector<PgRow> ask(const PgQuestions& questions,
                                     std::size_t columns,
                                     const std::string& statement,
                                     std::stop_token stop);

// Runs one that answers no rows, in no transaction of ours.
void tell(const PgQuestions& questions, const std::string& statement,
          std::stop_token stop);

// The same for many statements, or those that hold a secret: psql reads them
// from its standard input, ends with the first that fails, and does not repeat
// it in its message. What they answer is lost.
void run_script(const PgQuestions& questions, std::string_view script,
                std::stop_token stop);

// Throws ProducerFailed for what is no number.
template <typename Number>
[[nodiscard]] Number number_in(const std::string& field);

// A name, and a text, as SQL spells them.
[[nodiscard]] std::string pg_identifier(std::string_view name);
[[nodiscard]] std::string pg_literal(std::string_view text);

}  // namespace cairn::ingest
