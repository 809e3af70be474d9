// Configuration files of a cluster that lie outside its data directory, where
// Debian puts them: a base backup does not hold them.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "ingest/postgres_connection.h"
#include "repo/entry.h"

namespace cairn::ingest {

struct OutsideConfig {
  struct File {
    std::string path;  // absolute, on the server
    repo::Timestamp modified;
    std::string content;
  };
  std::vector<File> files;
  std::vector<std::string> notes;  // what could not be had, and why
};

// Asks the server; what its role may not see earns a note. Throws PostgresError
// only when the connection is lost.
[[nodiscard]] OutsideConfig read_outside_config(PostgresConnection& connection,
                                                const std::stop_token& stop);

}  // namespace cairn::ingest
