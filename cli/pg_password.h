// The password for a PostgreSQL server that a command of the user's gives.
#pragma once

#include <optional>

#include "cli/passphrase.h"

namespace cairn::cli {

// What the command in CAIRN_PG_PASSWORD_COMMAND prints. Nothing: none is set,
// and libpq looks where it always does. Throws ingest::ProducerFailed when the
// command fails.
[[nodiscard]] std::optional<SecretText> pg_password_from_command();

// The same as PGPASSWORD, for the programs that we start from then on, whose
// environment only we and root can see. Requires: no other thread runs.
void hand_on_pg_password_from_command();

}  // namespace cairn::cli
