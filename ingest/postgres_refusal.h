// What a PostgreSQL server says where it admits nobody or does not do as it is
// told, and what its user can do about it.
#pragma once

#include <string>
#include <string_view>

namespace cairn::ingest {

// The ways in which a password may come.
inline constexpr std::string_view kPasswordAdvice =
    "give it by a password file (~/.pgpass, passfile=), a service file "
    "(service=), PGPASSWORD or CAIRN_PG_PASSWORD_COMMAND";

struct Refusal {
  std::string text;      // one line
  std::string sqlstate;  // empty: not the server's word
};

// Of what libpq says of a failed attempt to connect, when asked to be verbose:
// elsewhere it does not tell the code.
[[nodiscard]] Refusal read_refusal(std::string_view verbose);

// With what to do, where that is known.
[[nodiscard]] std::string with_advice(std::string text,
                                      std::string_view sqlstate);

// A walsender that was refused so may be admitted without a database.
[[nodiscard]] bool may_be_admitted_without_database(std::string_view sqlstate);

}  // namespace cairn::ingest
