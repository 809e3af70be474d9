// How the program ends, for scripts; README.md lists them. Numbers are never
// reused.
#pragma once

#include <algorithm>
#include <array>

namespace cairn::cli {

enum class ExitCode : int {
  ok = 0,
  failed = 1,
  usage = 2,
  partial = 3,
  damage = 4,
  drill_failed = 5,
  overdue = 6,
  no_repository = 10,
  locked = 11,
  wrong_key = 12,
  unreachable = 13,
  out_of_space = 14,
  source_failed = 15,
  refused = 16,
  hook_failed = 17,
  cannot_tell = 126,  // of `pg wal-fetch` alone
  hung_up = 129,
  interrupted = 130,
  terminated = 143,
};

// The one to end with when both apply: damage before a full disk, before an
// unreachable storage, before a failed source, before partial success. A code
// that ends the run by itself comes before all of them.
[[nodiscard]] constexpr ExitCode worse(ExitCode a, ExitCode b) noexcept {
  constexpr std::array ascending = {
      ExitCode::ok,          ExitCode::partial,
      ExitCode::failed,      ExitCode::source_failed,
      ExitCode::unreachable, ExitCode::out_of_space,
      ExitCode::damage};
  const auto rank = [&](ExitCode code) {
    return std::ranges::find(ascending, code) - ascending.begin();
  };
  return rank(a) < rank(b) ? b : a;
}

}  // namespace cairn::cli
