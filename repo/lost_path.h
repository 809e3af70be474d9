// What of a snapshot cannot be had: one path, for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "repo/ids.h"

namespace cairn::repo {

struct LostPath {
  SessionId snapshot;
  std::string path;  // from the root; of a folder: it, and what lies below it

  auto operator<=>(const LostPath&) const = default;
};

// The first of them, and how many there are.
struct LostPaths {
  static constexpr std::size_t kMost = 100'000;

  std::vector<LostPath> paths;
  std::uint64_t total = 0;

  void add(LostPath path) {
    // One that needs several lost chunks is met once for each in succession.
    if (!paths.empty() && total == paths.size() && paths.back() == path) return;
    ++total;
    if (paths.size() < kMost) paths.push_back(std::move(path));
  }
};

}  // namespace cairn::repo
