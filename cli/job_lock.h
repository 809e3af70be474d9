// One run of a job at a time on this machine.
#pragma once

#include <chrono>
#include <filesystem>
#include <stop_token>
#include <string>

#include "ingest/unique_fd.h"

namespace cairn::cli {

// Held from its making to its end, also when that is kill -9: the system lets
// go of it.
class JobLock {
 public:
  // `folder` is where this program keeps its state; `series` and `repository`
  // tell jobs apart. Waits up to `patience` for a run that is at work. Throws
  // repo::LockedError, saying which process that is; repo::Cancelled when
  // `stop` is requested while waiting; repo::IoError.
  JobLock(const std::filesystem::path& folder, const std::string& repository,
          const std::string& series, std::chrono::seconds patience,
          const std::stop_token& stop);

 private:
  ingest::UniqueFd fd_;
};

}  // namespace cairn::cli
