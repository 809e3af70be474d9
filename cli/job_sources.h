// The sources of a job, from what the configuration says of them to what the
// pipeline reads.
//
//   /srv/shop/..               files, under their own paths
//   workflows.json             a command's output, under its name
//   postgres/globals.sql, ..   dumps, in a folder that is called as the source
//   redis/dump.rdb, ..         likewise
//   (the whole tree)           a base backup, which is alone
//
// Files, two dumps, and one of commands and Redis servers are read side by
// side.
//
// A source that cannot be read fails by itself: what is wrong with it is found
// out when it is read, or becomes what reading it says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/context.h"
#include "ingest/backup.h"
#include "repo/keyring.h"

namespace cairn::cli {

// What a dry run knows of one.
struct SourceOutlook {
  std::string name;
  std::string what = {};                    // "12 files", "shop, n8n"
  std::optional<std::uint64_t> bytes = {};  // nothing: cannot be told before
  std::optional<std::string> problem = {};  // why it would fail, or in part
  bool would_fail = false;                  // wholly
};

// Ownership      borrows the configuration and the context.
// Threads        one thread; while the sources are backed up, none but those
//                that read them.
class JobSources {
 public:
  JobSources(std::span<const config::Source* const> sources, Context& context);
  ~JobSources();
  JobSources(const JobSources&) = delete;
  JobSources& operator=(const JobSources&) = delete;

  // What is wrong with a source that has no content; empty: nothing is.
  using IfEmpty = std::function<std::string(const config::Source& source)>;

  // Once, for a backup that this outlives. Asks servers; throws
  // repo::Cancelled, and ingest::ProducerFailed for a base backup, which has
  // nobody beside it to be saved.
  [[nodiscard]] std::vector<ingest::Source> open(const repo::Keyring& keyring,
                                                 const IfEmpty& if_empty,
                                                 const std::stop_token& stop);

  // How long a stream took from its first byte to its end, once it was backed
  // up whole. Nothing: files and clusters are not measured.
  [[nodiscard]] std::optional<double> seconds_of(const std::string& name) const;

  // What whoever restores should know; complete once they were backed up.
  [[nodiscard]] std::vector<std::string> notes() const;

  // Reads no content, and starts no command.
  [[nodiscard]] std::vector<SourceOutlook> outlook(const std::stop_token& stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::cli
