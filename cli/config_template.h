// The cairn.yaml that `config init` writes: what was found on this machine, and
// the rest of the grammar as comments.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cairn::cli {

struct FoundHere {
  std::string host;
  std::string time_zone;
  std::optional<std::string> repository;     // absolute
  std::optional<std::string> key_file;       // absolute
  std::vector<std::string> settings = {};    // .env, compose files; absolute
  std::optional<std::string> postgres = {};  // the folder of its socket
};

// Looks at the environment, the current folder and the usual sockets; starts
// and asks nothing.
[[nodiscard]] FoundHere look_around(const std::optional<std::string>& repo);

// A file without mistakes.
[[nodiscard]] std::string configuration_text(const FoundHere& found);

}  // namespace cairn::cli
