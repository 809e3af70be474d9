// Gathers what could not be set, by cause.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/target_tree.h"

namespace cairn::ingest {

// Threads        add() from many threads; list() when none adds.
class Shortfalls {
 public:
  void add(std::string_view what, int error, const std::string& path);

  [[nodiscard]] const std::vector<Shortfall>& list() const noexcept {
    return list_;
  }

 private:
  std::mutex mutex_;  // guards list_
  std::vector<Shortfall> list_;
};

}  // namespace cairn::ingest
