#include "cli/pg_password.h"

#include <cstdlib>
#include <string>

#include "ingest/byte_stream.h"
#include "repo/error.h"

namespace cairn::cli {

std::optional<SecretText> pg_password_from_command() {
  constexpr const char* kVariable = "CAIRN_PG_PASSWORD_COMMAND";
  const char* const command = std::getenv(kVariable);
  if (command == nullptr || *command == '\0') return std::nullopt;
  try {
    return run_password_command(kVariable, command);
  } catch (const repo::WrongKey& e) {  // no key of ours
    throw ingest::ProducerFailed(e.what());
  }
}

void hand_on_pg_password_from_command() {
  const auto password = pg_password_from_command();
  if (!password) return;
  ::setenv("PGPASSWORD", std::string(password->view()).c_str(), 1);
}

}  // namespace cairn::cli
