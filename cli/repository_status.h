// What there is to say of a repository and of what lies in it, whichever job
// saved it: its disk, what of it was verified, and WAL.
#pragma once

#include <string>

#include "cli/config/configuration.h"
#include "cli/status_report.h"
#include "repo/keyring.h"
#include "repo/repository.h"
#include "service/health.h"

namespace cairn::cli {

// How full the disk is that the repository lies on.
void look_at_disk(const std::string& place, const service::Limits& limits,
                  RepositoryStatus& status, StatusReport& report);

// How much of it this machine has read, and in which packs it found damage.
void look_at_packs(repo::Repository& repository,
                   const config::DataChecks& checks, RepositoryStatus& status,
                   StatusReport& report);

// The WAL of this host's clusters among the snapshots of `repository`.
// Requires: the report has the sources of the jobs already, which lose less by
// it.
void add_wal(const std::string& repository, const repo::SnapshotList& list,
             const repo::Keyring& keyring, const config::Configuration& all,
             const service::Limits& limits, StatusReport& report);

}  // namespace cairn::cli
