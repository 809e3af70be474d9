#include "cli/pg_places.h"

#include <cstdlib>
#include <utility>

#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

// Empty is none, as for libpq.
const char* variable(const char* name) {
  const char* const value = std::getenv(name);
  return value && *value != '\0' ? value : nullptr;
}

void require_sense(const PgPlaces& places, std::string_view command) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError(std::string(command) + ": " + why);
  };
  if (places.container && places.bin_dir) {
    refuse("--docker and --bin-dir exclude each other");
  }
  if (places.container && places.container->empty()) {
    refuse("--docker needs the name of a container");
  }
  if (places.container && places.container->starts_with('-')) {
    refuse("'" + *places.container + "' is not the name of a container");
  }
  if (places.container_program && !places.container) {
    refuse("--container-program needs --docker CONTAINER");
  }
  if (places.bin_dir && places.bin_dir->empty()) refuse("--bin-dir is empty");
}

}  // namespace

void declare_pg_places(Flags& flags, PgPlaces& places) {
  flags.value("--bin-dir", "DIR", places.bin_dir,
              "where psql, pg_dump, pg_dumpall and pg_restore are");
  flags.value("--docker", "CONTAINER", places.container,
              "run them in this container; the DSN is as seen from there");
  flags.value("--container-program", "PROGRAM", places.container_program,
              "docker's stand-in, such as podman");
}

ingest::PgProgramPlaces program_places(const PgPlaces& places,
                                       std::string_view command) {
  require_sense(places, command);
  ingest::PgProgramPlaces found;
  found.bin_dir = places.bin_dir;
  if (const char* const path = variable("PATH")) found.path = path;
  if (places.container) {
    ingest::PgContainer container{
        .program = places.container_program.value_or("docker"),
        .name = *places.container,
        .variables = {}};
    // Those that mean the same in there.
    for (const char* const name : {"PGUSER", "PGPASSWORD", "PGDATABASE"}) {
      if (variable(name)) container.variables.emplace_back(name);
    }
    found.container = std::move(container);
  }
  return found;
}

std::string usual_database(const PgPlaces& places) {
  const bool is_known = variable("PGDATABASE") != nullptr ||
                        (!places.container && variable("PGSERVICE") != nullptr);
  return is_known ? "" : "postgres";
}

}  // namespace cairn::cli
