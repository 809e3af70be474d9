// Files and folders of the command line, or of the configuration, as sources.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/context.h"
#include "ingest/backup.h"

namespace cairn::cli {

// What to leave out of them; ingest/file_source.h says how.
struct FileRules {
  std::vector<std::string> exclude = {};
  std::vector<std::string> exclude_if_present = {};
  bool one_file_system = false;
  ingest::Changes changes = ingest::Changes::are_problems;
};

// Those that are there are one source, and each that is not there is another,
// which fails alone. All bear the name. What cairn itself writes to is left
// out. Warns of rules that cannot mean what they say.
[[nodiscard]] std::vector<ingest::Source> file_sources(
    const std::string& name, const std::vector<std::string>& paths,
    const FileRules& rules, Context& context);

// What a walk meets, without reading any of it.
struct FileCount {
  std::uint64_t files = 0;
  std::uint64_t folders = 0;
  std::uint64_t others = 0;
  std::uint64_t excluded = 0;
  std::uint64_t unreadable = 0;
  std::uint64_t bytes = 0;
  // What is wrong with each path that is not there, which it names.
  std::vector<std::string> missing = {};
};

// Throws repo::Cancelled when `stop` is requested.
[[nodiscard]] FileCount count_files(const std::vector<std::string>& paths,
                                    const FileRules& rules, Context& context,
                                    const std::stop_token& stop);

}  // namespace cairn::cli
