// Proves that a restored cluster recovers: starts a server on it, for itself
// alone, waits for the real end of recovery, checks what came of it, and stops
// it.
//
// The server listens on a socket in a folder that is its user's alone, and
// reaches out to nobody: it archives nothing, follows nobody, runs no jobs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/recovery_plan.h"
#include "ingest/verification_failed.h"
#include "repo/error.h"

namespace cairn::ingest {

struct ServerPlaces {
  std::optional<std::string> bin_dir;  // nothing else counts then
  std::filesystem::path versions = "/usr/lib/postgresql";  // Debian's
  std::string path;  // of the environment, folders with colons between them
};

struct ServerPrograms {
  std::filesystem::path folder;  // where `postgres` is, and others perhaps
  std::string version;           // "15.18"
};

// Of that major version. Throws ProducerFailed when there are none, with what
// to install.
[[nodiscard]] ServerPrograms find_server_programs(const ServerPlaces& places,
                                                  int major,
                                                  const std::stop_token& stop);

struct VerifyOptions {
  ServerPrograms programs;
  // Empty, ours, and with a short path: for a socket and a log.
  std::filesystem::path scratch;
  std::vector<std::string> sql;
  std::string database = "postgres";  // for `sql`
};

struct VerifyReport {
  double recovery_seconds = 0;  // from the server's start to its promotion
  std::uint32_t timeline = 0;   // that it is on now
  Lsn replayed;
  std::uint64_t databases_checked = 0;  // by pg_amcheck
  std::uint64_t statements = 0;         // of `sql`
  std::vector<std::string> notes;       // what could not be checked, and why
};

// `data` is as write_recovery_settings() left it; afterwards it is a cluster at
// the target, promoted and shut down cleanly. `phase` gets what is being done.
//
// Root runs the server as the owner of `data`. Whatever happens, no server is
// left behind. Throws VerificationFailed, ProducerFailed where a server cannot
// be run, repo::Cancelled.
[[nodiscard]] VerifyReport verify_recovery(
    const RecoveryPlan& plan, const std::filesystem::path& data,
    const VerifyOptions& options,
    const std::function<void(std::string_view)>& phase,
    const std::stop_token& stop);

// A recovered server, for who is given it.
struct RecoveredServer {
  int major = 0;
  // Finds a database of it, as a superuser; holds no secret.
  std::function<std::string(const std::string& database)> dsn_of;
};

// Recovers `data` likewise, checks that the target was reached and nothing
// else, and lets `use` have the server, which may change what is in it. Throws
// what verify_recovery() and `use` throw.
void use_recovered(const RecoveryPlan& plan, const std::filesystem::path& data,
                   const VerifyOptions& options,
                   const std::function<void(const RecoveredServer&)>& use,
                   const std::stop_token& stop);

}  // namespace cairn::ingest
